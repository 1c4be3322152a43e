"""What runs inside an E2B sandbox. Standard library only; shipped as one file, never imported by the host but for its
packets."""
