import os, signal
import pytest
from callgate.testing.conformance import SandboxConformance
from callgate.sandboxes import LocalSandbox
from local.harness import descendants
class TestLocal(SandboxConformance):
    patience=8.0
    @pytest.fixture
    def make_sandbox(self): 
        self.before=descendants()
        return LocalSandbox
    def lose(self, sandbox): sandbox._pool.server.kill()
    def leftovers(self, sandbox): 
        return descendants()-self.before
