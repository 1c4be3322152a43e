"""What runs inside an E2B sandbox: standard library only, shipped as one file. The host imports but the packets."""
