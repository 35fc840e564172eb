"""Records of devices: what the cost models know about hardware."""
