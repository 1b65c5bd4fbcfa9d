"""Runs that end before their time: SIGKILL at any moment, SIGTERM and Ctrl-C."""

from __future__ import annotations

import signal
import time

from benchmarks.soak.campaign import Campaign
from benchmarks.soak.hooks import Fault

STOPPED = "the same command continues where it left off"
SIGNALS = {"SIGTERM": (signal.SIGTERM, 143), "Ctrl-C": (signal.SIGINT, 130)}


def killed_in_time(campaign: Campaign, work: str, count: int) -> None:
    """SIGKILL after a random part of the time that a run takes."""
    with campaign.line("SIGKILL, any time", work) as tally:
        draw, seconds = campaign.draw("time", work), campaign.reference(work).ended.seconds
        for _ in range(count):
            share = draw.random()
            with campaign.trial(tally, f"after {share:.0%}") as trial:
                child = trial.reference.work.start(trial.place)
                time.sleep(share * seconds)
                child.kill(signal.SIGKILL)
                child.wait()
                trial.resume()


def killed_at_moments(campaign: Campaign, work: str, count: int) -> None:
    """SIGKILL just before or after a call that changes the disk; every such call is as likely as any other."""
    with campaign.line("SIGKILL, at a change of the disk", work) as tally:
        moments = campaign.reference(work).ended.moments or 0
        for at in sorted(campaign.draw("moments", work).sample(range(moments), min(count, moments))):
            with campaign.trial(tally, f"moment {at}") as trial:
                ended = trial.reference.work.run(trial.place, Fault(at))
                trial.require(ended.code == -signal.SIGKILL, f"not killed: {ended.code}")
                trial.resume()


def stopped(campaign: Campaign, work: str, name: str, count: int) -> None:
    """A signal that asks to stop: one clean line, an exit code, and everything is there the next time."""
    number, code = SIGNALS[name]
    with campaign.line(name, work) as tally:
        draw, moments = campaign.draw(name, work), campaign.reference(work).ended.moments or 0
        what = "interrupt" if number == signal.SIGINT else "terminate"
        for at in sorted(draw.sample(range(moments), min(count, moments))):
            with campaign.trial(tally, f"moment {at}") as trial:
                trial.told(trial.reference.work.run(trial.place, Fault(at, what)), code, STOPPED)
                trial.require(not list(trial.place.rglob("*.part")), "a temporary file stays")
                trial.resume()


def killed_again_and_again(campaign: Campaign, work: str, count: int) -> None:
    """Killed, resumed, and killed again, until a run comes through; each kill costs a block at most."""
    with campaign.line("SIGKILL, again and again", work) as tally:
        draw, moments = campaign.draw("again", work), campaign.reference(work).ended.moments or 0
        for number in range(count):
            with campaign.trial(tally, f"series {number}") as trial:
                kills = [draw.randrange(moments) for _ in range(4)]
                ended = [trial.reference.work.run(trial.place, Fault(at)).code for at in kills]
                trial.resume(again=sum(code == -signal.SIGKILL for code in ended))
