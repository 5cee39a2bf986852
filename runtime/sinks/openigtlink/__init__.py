"""Frames, label maps and tips for 3D Slicer, PLUS and other programs that speak OpenIGTLink.

from trocar.runtime.sinks.openigtlink.sink import OpenIGTLinkSink
"""
