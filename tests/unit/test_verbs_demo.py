"""The demo trains for real, repeatably, and one of its jobs fails the way it is meant to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from joulestream.demo.__main__ import DIVERGED, main, run_one
from joulestream.demo.jobs import JOBS
from joulestream.demo.train import TrainingDivergedError, evaluate, stop_if_diverged, train


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """A tracker without a broker: its events stay in the spool."""
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("JOULE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("JOULE_TRACKER_METERS", "simulated:1")
    return tmp_path


def spooled(folder):
    return b"".join(file.read_bytes() for file in sorted(folder.glob("spool/**/*")) if file.is_file())


def short(job, epochs):
    return replace(job, epochs=epochs, log_every=1)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_equal_seeds_learn_the_same(job):
    def learnt():
        data, model = job.load(), job.build()
        rows = np.random.default_rng(job.seed).permutation(len(data.x))[:400]
        model.partial_fit(data.x[rows], data.y[rows], **job.classes(data))
        return evaluate(model, data, job)

    assert learnt() == learnt()
    assert np.isfinite(learnt()).all()


def test_a_job_learns_and_its_events_have_its_energy(alone):
    job = next(job for job in JOBS if job.name == "mlp-wine")
    run = train(short(job, 30))
    assert run.energy_kwh > 0
    events = spooled(alone)
    assert b'"completed"' in events
    assert run.run_id.encode() in events


def test_the_job_that_fails_says_why_and_is_sent_as_failed(alone, capsys):
    job = next(job for job in JOBS if job.fails)
    assert run_one(replace(short(job, 400), learning_rate_growth=1.1)) == DIVERGED
    assert "lower the learning rate" in capsys.readouterr().err
    assert b'"failed"' in spooled(alone)


def test_one_job_fails_and_users_and_regions_differ():
    assert [job.fails for job in JOBS].count(True) == 1
    assert len({job.user for job in JOBS}) >= 3
    assert len({job.region for job in JOBS}) >= 3


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 101.0], ids=str)
def test_a_loss_that_is_lost_ends_the_training(loss):
    with pytest.raises(TrainingDivergedError, match="after epoch 3"):
        stop_if_diverged(3, loss, 100.0)


def test_an_unknown_job_is_a_usage_error(capsys):
    assert main(["no-such-job"]) == 2
    assert "mlp-digits" in capsys.readouterr().err
