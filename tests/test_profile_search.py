"""The search for λ and U, to its published target and beyond, and what happens when it fails.

The full table of profiles and seeds is ``benchmarks/profiles.py``; here every profile runs once.
"""

from __future__ import annotations

import numpy as np
import pytest

from ntaylor import profile_search
from ntaylor.problems.self_similar_burgers import SelfSimilarBurgers


def errors(result):
    x = np.linspace(-2, 2, 4001)
    worst = np.max(np.abs(result.network(x) - result.problem.exact(x)))
    return abs(result.lam - result.problem.exact_lambda), worst


@pytest.mark.parametrize("profile", range(4))
def test_every_profile_is_found_to_the_target(profile):
    result = profile_search.search(SelfSimilarBurgers(profile), seed=profile)
    assert result.converged, result.against
    lam_error, u_error = errors(result)
    assert lam_error <= 1e-9
    assert u_error <= 1e-8
    assert len(result.costs) <= result.steps


@pytest.mark.parametrize("at", [7, 25, 41])
def test_an_interrupted_search_goes_on_on_the_same_trajectory(tmp_path, at):
    """Bit for bit, wherever it was interrupted: in each of the three stages."""
    problem, path = SelfSimilarBurgers(0), tmp_path / "checkpoint.safetensors"
    whole = []
    uninterrupted = profile_search.search(problem, seed=0, on_step=lambda p: whole.append((p.stage, p.cost, p.lam)))
    at = min(at, len(whole) - 1)
    parts = []

    def interrupting(p):
        parts.append((p.stage, p.cost, p.lam))
        if len(parts) == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        profile_search.search(problem, seed=0, on_step=interrupting, checkpoint=path)
    assert path.exists()
    resumed = profile_search.search(
        problem, seed=0, on_step=lambda p: parts.append((p.stage, p.cost, p.lam)), checkpoint=path, resume=True
    )
    assert parts == whole
    assert resumed.lam == uninterrupted.lam
    assert resumed.steps == uninterrupted.steps
    assert resumed.costs == uninterrupted.costs
    assert path.exists(), "the result is not yet safe: the file is the caller's to remove"


def test_the_search_never_looks_at_the_exact_solution(monkeypatch):
    """With everything exact made to fail, the profile is found all the same, from the middle of the interval."""

    def forbidden(*_):
        raise AssertionError("the search looked at the exact solution")

    for name in ("exact", "exact_coefficients"):
        monkeypatch.setattr(SelfSimilarBurgers, name, forbidden)
    monkeypatch.setattr(SelfSimilarBurgers, "exact_lambda", property(forbidden))
    problem = SelfSimilarBurgers(1)
    seen = []
    result = profile_search.search(problem, seed=50, on_step=lambda p: seen.append((p.stage, p.lam)))
    assert result.converged
    assert {lam for stage, lam in seen if stage == "hold"} == {problem.middle}
    assert abs(result.lam - 0.25) <= 1e-9


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        profile_search.search(SelfSimilarBurgers(0), seed=5, on_step=stop, checkpoint=path)
    with pytest.raises(ValueError, match=r"of profile 0, seed 5 .* give --profile 0 --seed 5"):
        profile_search.search(SelfSimilarBurgers(1), seed=5, checkpoint=path, resume=True)


def test_a_trapped_attempt_is_started_again_and_told(monkeypatch):
    """With the verdict of the first attempt forced to 'trapped', the second is another one and is found."""
    problem = SelfSimilarBurgers(0)
    real, verdicts = SelfSimilarBurgers.diagnose, []

    def first_fails(self, network, lam):
        figures, against = real(self, network, lam)
        verdicts.append(against)
        return figures, ["forced"] if len(verdicts) == 1 else against

    monkeypatch.setattr(SelfSimilarBurgers, "diagnose", first_fails)
    result = profile_search.search(problem, seed=0)
    assert result.attempts == 2
    assert result.rejected == [["forced"]]
    assert result.converged
    assert errors(result)[0] <= 1e-9


def test_a_search_that_is_trapped_every_time_says_so(monkeypatch):
    """λ free from the start and no orders beyond the first: the published trap. Nothing may pass for found."""
    problem = SelfSimilarBurgers(3)
    real = profile_search._stage

    def careless(problem, seed, attempt, stage):
        system, settings = real(problem, seed, attempt, stage)
        if stage == 0:
            network = system.network
            low, high = problem.interval
            is_lam = np.asarray(system.mask("lam"))
            bounds = {"lower": np.where(is_lam, low, -np.inf), "upper": np.where(is_lam, high, np.inf)}
            return problem.system(network, 81, 1), profile_search.Settings(steps=20, **bounds)
        if stage == 1:
            return problem.system(system.network, 81, 1), settings
        return problem.system(system.network, 161, 1), settings

    monkeypatch.setattr(profile_search, "_stage", careless)
    monkeypatch.setattr(profile_search, "_ATTEMPTS", 1)
    result = profile_search.search(problem, seed=0)
    assert errors(result)[0] > 1e-4, "the trap did not close: this test would prove nothing"
    assert not result.converged
    assert result.against


def test_a_network_file_gives_the_network_back(tmp_path):
    result = profile_search.search(SelfSimilarBurgers(0), seed=1)
    profile_search.save_network(tmp_path / "network.safetensors", result)
    network, lam = profile_search.load_network(tmp_path / "network.safetensors")
    x = np.linspace(-2, 2, 101)
    assert lam == result.lam
    np.testing.assert_array_equal(network(x), result.network(x))
