import pytest
from callgate.testing.conformance import SandboxConformance
from callgate.testing import FakeSandbox
class TestFake(SandboxConformance):
    patience=8.0
    lacks = {k:"no isolation" for k in ("memory_mb","disk_mb","files","network","processes","tmp")}
    @pytest.fixture
    def make_sandbox(self): return FakeSandbox
    def lose(self, sandbox): sandbox.lose()
    def leftovers(self, sandbox): return list(sandbox._guests)
