"""The live page: a small web server of the standard library, and the files it shows.

from trocar.runtime.live.monitor.server import Monitor
"""
