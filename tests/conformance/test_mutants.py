"""The suite can fail: each sandbox with a fault is found by a check that is named for it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from conformance import mutants
from conformance.classes import Fake
from conformance.mutants import Mutant

from callgate.errors import CallgateError
from callgate.testing.conformance.case import Case


class Suite(Fake):
    """The checks, in a hurry."""

    patience = 0.5
    brief = 0.15


def of(guest: type[mutants.Guest]) -> Any:
    return Mutant.of(guest)


def ordered(change: Any) -> Any:
    return Mutant.of(mutants.ordering(change))


FOUND = {
    "loses answers": (of(mutants.LosesAnswers), "async", "test_many_calls_one_after_another"),
    "answers twice": (of(mutants.AnswersTwice), "sync", "test_many_calls_one_after_another"),
    "asks twice": (of(mutants.AsksTwice), "async", "test_threads_get_their_own_answers"),
    "loses bytes": (of(mutants.LosesBytes), "sync", "test_large_values_cross"),
    "loses bytes on loops": (of(mutants.LosesBytesOnLoops), "async", "test_text_of_any_length_crosses"),
    "reorders": (of(mutants.Reorders), "sync", "test_large_values_cross"),
    "loses output": (of(mutants.LosesOutput), "sync", "test_output_of_both_streams_comes_in_order"),
    "loses files": (of(mutants.LosesFiles), "async", "test_files_of_a_program_that_fails_come_back"),
    "loses what a cancelled receive had": (of(mutants.LosesOnCancel), "sync", "test_cancelling_a_receive_loses_nothing"),
    "crosses answers": (of(mutants.Crosses), "sync", "test_guests_that_wait_hear_only_their_own"),
    "keeps state": (ordered(mutants.keeps_state), "sync", "test_a_program_finds_nothing_of_the_one_before"),
    "shares a directory": (mutants.Shares, "sync", "test_the_working_directory_is_empty"),
    "shares /out": (mutants.Shares, "sync", "test_a_program_finds_none_when_it_begins"),
    "shows the environment": (
        ordered(mutants.shows_environment), "sync", "test_the_environment_of_the_host_is_not_there"
    ),
    "is ASCII only": (ordered(mutants.ascii_only), "sync", "test_a_long_program_arrives_whole"),
    "has a seed of its own": (ordered(mutants.own_seed), "sync", "test_the_same_seed_gives_the_same_program"),
    "draws anew after a pause": (
        ordered(mutants.own_seed), "async", "test_what_a_program_draws_is_the_same_after_a_pause"
    ),
    "has one seed for all": (ordered(lambda run: run.update(seed=1)), "sync", "test_randomness_is_fresh"),
    "has a clock of its own": (ordered(mutants.own_clock), "async", "test_the_clock_is_the_hosts"),
    "has no limit on threads": (ordered(mutants.no_limits), "sync", "test_limit_threads"),
    "ignores kill": (of(mutants.IgnoresKill), "sync", "test_a_killed_guest_is_gone_for_good"),
    "leaves processes": (of(mutants.LeavesProcesses), "sync", "test_no_guest_is_left"),
    "dawdles": (of(mutants.Dawdles), "sync", "test_receive_returns_none_after_its_time"),
    "ignores wake": (of(mutants.IgnoresWake), "sync", "test_wake_ends_the_running_receive"),
    "wakes twice": (of(mutants.WakesTwice), "sync", "test_wake_ends_the_next_receive_and_only_that"),
    "takes silence for death": (of(mutants.TakesSilenceForDeath), "sync", "test_a_slow_tool_is_waited_for"),
    "tells no processor time": (of(mutants.TellsNoTime), "sync", "test_limit_cpu_seconds"),
    "is never lost": (of(mutants.IsNeverLost), "async", "test_a_sandbox_that_goes_away_is_told_as_lost"),
    "is always lost": (of(mutants.IsAlwaysLost), "sync", "test_a_process_that_dies_is_told"),
    "buffers without end": (of(mutants.Buffers), "async", "test_a_guest_that_does_not_read_is_a_timeout"),
    "stays open": (mutants.StaysOpen, "sync", "test_close_ends_every_guest_and_is_final"),
    "runs one program at a time": (mutants.OneAtATime, "async", "test_programs_run_at_the_same_time"),
    "leaks descriptors": (mutants.LeaksDescriptors, "sync", "test_the_host_keeps_nothing_of_programs"),
    "leaks tasks": (mutants.LeaksTasks, "sync", "test_a_loop_keeps_nothing_of_programs"),
    "has no name": (mutants.Nameless, "sync", "test_it_is_a_sandbox"),
    "reads files of the host": (Mutant, "sync", "test_files_of_the_host_are_not_there"),
    "reaches the network": (Mutant, "sync", "test_services_of_the_host_are_out_of_reach"),
    "starts processes": (Mutant, "sync", "test_no_process_is_started_or_signalled"),
    "bounds no memory": (Mutant, "sync", "test_limit_memory_mb"),
    "bounds no files": (Mutant, "sync", "test_limit_disk_mb"),
}  # fmt: skip
"""Its fault: the sandbox, the way, and the check that finds it."""


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="callgate")
    mutants.earlier.clear()


def look(make: Any, way: Any, check: str, suite: Fake | None = None) -> None:
    """Run one check on a sandbox."""
    made: list[Any] = []

    def new() -> Any:
        made.append(make())
        return made[-1]

    suite = suite or Suite()
    try:
        getattr(suite, check)(Case(new(), way, new=new, hooks=suite))
    finally:
        for one in made:
            one.close()
            getattr(one, "inner", one).close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("fault", FOUND)
def test_a_fault_is_found(fault: str) -> None:
    make, way, check = FOUND[fault]
    with pytest.raises((AssertionError, CallgateError)):
        look(make, way, check)
