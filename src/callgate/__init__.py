"""Code-as-action: the model writes Python that calls your tools, and every call passes the gate."""
