"""Ctrl-C in the core: which parameters are kept, and when KeyboardInterrupt is raised."""

import signal
from contextlib import suppress

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from skscratch.core import Adam, Dense, Tanh, train
from skscratch.core.blas import SingleThreadedBLAS
from skscratch.core.interrupts import Interrupts
from skscratch.core.update import Step
from tests.core.common import N_OUT, network, objective, rows, target_for


@pytest.fixture(autouse=True)
def _ctrl_c_is_not_ignored():
    # In a process that was started in the background, Ctrl-C is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press():
    signal.raise_signal(signal.SIGINT)


def test_the_first_ctrl_c_is_noted_and_the_second_raises():
    with Interrupts() as interrupts:
        press()
        assert interrupts.requested
        with pytest.raises(KeyboardInterrupt):
            press()
        interrupts.obeyed = True
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_unhandled_request_is_raised_at_the_end():
    with pytest.raises(KeyboardInterrupt), Interrupts():
        press()
    with Interrupts() as interrupts:
        press()
        interrupts.obeyed = True


def test_ctrl_c_is_not_lost_while_threadpoolctl_looks_for_blas(monkeypatch):
    def look():
        # What its callbacks from C do to an exception.
        with suppress(KeyboardInterrupt):
            press()
        return ThreadpoolController()

    monkeypatch.setattr("skscratch.core.blas.ThreadpoolController", look)
    with pytest.raises(KeyboardInterrupt):
        SingleThreadedBLAS().threads_allowed()


def test_a_request_belongs_to_the_innermost_context():
    with Interrupts() as outer:
        with Interrupts() as inner:
            press()
            inner.obeyed = True
        assert inner.requested
        assert not outer.requested
        # A request that the inner context has not handled is passed to the outer one.
        with Interrupts():
            press()
        assert outer.requested
        outer.obeyed = True


def test_a_custom_handler_stays_in_place():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *given: seen.append(given))
    try:
        with Interrupts() as interrupts:
            press()
        assert interrupts.may_raise
        assert not interrupts.requested
        assert len(seen) == 1
    finally:
        signal.signal(signal.SIGINT, before)


def test_nothing_is_raised_if_ctrl_c_is_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            press()
        assert not interrupts.may_raise
        assert not interrupts.requested
    finally:
        signal.signal(signal.SIGINT, before)


def in_epoch(k, step=1, how=press):
    """Return rows that press Ctrl-C when a batch is taken: in step `step` of epoch `k`."""
    n_taken = 0

    class Data:
        array = rows(10)
        shape = array.shape

        def take(self, chosen, out):
            nonlocal n_taken
            n_taken += 1
            if n_taken == 3 * (k - 1) + step:
                how()
            return self.array[chosen]

    return Data()


def raise_interrupt():
    raise KeyboardInterrupt


def trained(monkeypatch, data, interrupts, **options):
    steps, net = [], network(Dense(6), Tanh(), Dense(N_OUT))
    step = Step.__call__

    def recorded(self, evaluation, lr):
        step(self, evaluation, lr)
        steps.append(net.params.copy())

    with monkeypatch.context() as patched:
        patched.setattr(Step, "__call__", recorded)
        run = train(
            objective(net),
            data,
            target_for("squared_error", 10),
            optimizer=Adam(),
            batch_size=4,
            max_epochs=8,
            rng=0,
            interrupts=interrupts,
            **options,
        )
    return net.params, run, steps


@pytest.mark.parametrize("how", [press, raise_interrupt], ids=["flag", "raised"])
@pytest.mark.parametrize("handler", ["default", "own"])
@pytest.mark.parametrize(("epoch", "step"), [(1, 1), (1, 3), (2, 1), (4, 2)])
def test_an_interrupt_keeps_the_last_complete_epoch_or_step(monkeypatch, how, handler, epoch, step):
    _, _, steps = trained(monkeypatch, rows(10), None)
    before = signal.getsignal(signal.SIGINT)
    if handler == "own":
        signal.signal(signal.SIGINT, lambda *given: raise_interrupt())
    try:
        with Interrupts() as interrupts:
            params, run, _ = trained(monkeypatch, in_epoch(epoch, step, how), interrupts)
            interrupts.obeyed = True
    finally:
        signal.signal(signal.SIGINT, before)
    assert run.stopped == "interrupted"
    assert interrupts.requested
    if epoch > 1:
        np.testing.assert_array_equal(params, steps[3 * (epoch - 1) - 1])
        assert run.n_epochs == epoch - 1
    else:
        # The flag is read before each step, so the current step is finished.
        finished = step if how is press and handler == "default" else step - 1
        initial = network(Dense(6), Tanh(), Dense(N_OUT)).params
        np.testing.assert_array_equal(params, steps[finished - 1] if finished else initial)
        # The loss of an incomplete epoch is the mean over its steps.
        assert len(run.losses) == (1 if finished else 0)
    # The optimizer starts afresh.
    assert run.state.optimizer.t == 0
    assert not any(slot.any() for slot in run.state.optimizer.slots)


@pytest.mark.parametrize("where", ["validate", "on_epoch", "before_epoch"])
def test_an_interrupt_between_epochs_keeps_complete_ones(monkeypatch, where):
    _, _, steps = trained(monkeypatch, rows(10), None)
    n_calls = 0

    def call(*given):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 3:
            raise KeyboardInterrupt
        return 0.0

    with Interrupts() as interrupts:
        params, run, _ = trained(monkeypatch, rows(10), interrupts, **{where: call})
        interrupts.obeyed = True
    # An epoch without validation does not count; one whose callback failed was complete.
    whole = 3 if where == "on_epoch" else 2
    np.testing.assert_array_equal(params, steps[3 * whole - 1])
    assert run.n_epochs == whole
    assert len(run.scores) == (whole if where == "validate" else 0)


def test_an_interrupted_run_keeps_the_best_parameters(monkeypatch):
    _, _, steps = trained(monkeypatch, rows(10), None)
    scores = iter([0.1, 0.9, 0.5, 0.7])
    with Interrupts() as interrupts:
        params, run, _ = trained(
            monkeypatch,
            in_epoch(4, 2),
            interrupts,
            validate=lambda: next(scores),
            keep_best=True,
        )
        interrupts.obeyed = True
    assert run.scores == [0.1, 0.9, 0.5]
    np.testing.assert_array_equal(params, steps[5])


def test_without_interrupts_keyboard_interrupt_is_raised(monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        trained(monkeypatch, in_epoch(2), None)


def test_half_a_step_of_the_first_epoch_is_never_kept(monkeypatch):
    # A second Ctrl-C can come in the middle of an update, which leaves no valid parameters.
    update = Adam.update

    def torn(self, w, *given):
        update(self, w, *given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Adam, "update", torn)
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        trained(monkeypatch, rows(10), interrupts)
