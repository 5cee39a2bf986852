"""What proves that a bundle is what was exported: hashes, the copies in ``model.onnx``, the graph.

from trocar.contract.integrity.manifest_hash import manifest_sha256
"""
