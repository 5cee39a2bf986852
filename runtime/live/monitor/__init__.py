"""The live page: a web server of the standard library, and the static files of the page.

from trocar.runtime.live.monitor.server import Monitor
"""
