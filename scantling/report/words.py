"""Numbers as people read them, and what a comparison says in one sentence. Undefined is a dash."""

from __future__ import annotations

from typing import Any

DASH, MINUS, THIN = "\u2013", "\u2212", "\u2009"


def points(fraction: float | None) -> str:
    """A fraction as points with one decimal: 0.4731 -> 47.3."""
    return DASH if fraction is None else f"{100 * fraction:.1f}".replace("-", MINUS)


def signed(fraction: float | None) -> str:
    """A difference in points with its sign: 0.021 -> +2.1; what rounds to zero has none."""
    if fraction is None:
        return DASH
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def percent(fraction: float | None) -> str:
    return DASH if fraction is None else f"{100 * fraction:.0f}{THIN}%"


def number(value: float | None, digits: int = 0) -> str:
    return DASH if value is None else f"{value:,.{digits}f}".replace(",", THIN)


def width(found: dict[str, Any] | None) -> str:
    """What stands behind a mean: "± 1.2" for an interval, "46.1 to 48.0" for two numbers, nothing for one."""
    if found is None or found["kind"] == "one":
        return ""
    if found["kind"] == "range":
        return f"{points(found['low'])} to {points(found['high'])}"
    return f"\u00b1{THIN}{points((found['high'] - found['low']) / 2)}"


def open_(found: dict[str, Any] | None) -> bool:
    """Whether a gain's 95 % interval includes no difference."""
    return found is not None and found["kind"] == "t95" and found["low"] <= 0 <= found["high"]


def side(found: dict[str, Any] | None) -> str:
    """ "up" or "down" for a gain whose 95 % interval lies on one side of zero, else "open"."""
    if found is None or found["kind"] != "t95" or open_(found):
        return "open"
    return "up" if found["mean"] > 0 else "down"


def duration(seconds: float | None) -> str:
    """35 s, 4 min 10 s, 3 h 05 min."""
    if seconds is None:
        return DASH
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02} min" if hours else f"{minutes} min {rest:02} s"


def among(names: list[str]) -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def verdict(method: dict[str, Any], baseline: str | None) -> tuple[str, str]:
    """("up", "down" or "open", sentence) on the paired gain in AP of the averaged weights."""
    gain = method["gain"]["teacher"]["AP"]
    if gain is None:
        return "open", f"{method['method']} has no {baseline or 'baseline'} run to be compared with."
    n, mean = gain["n"], signed(gain["mean"])
    if gain["kind"] == "one":
        kind, support = "open", "one pair of runs, so nothing is known of the spread"
    elif gain["kind"] == "range":
        kind, support = "open", f"two pairs of runs: {signed(gain['low'])} and {signed(gain['high'])}"
    else:
        kind = side(gain)
        about = f"{n} pairs of runs, 95{THIN}% interval {signed(gain['low'])} to {signed(gain['high'])}"
        support = f"{about}, which includes zero" if open_(gain) else about
    steps = "" if method["equal_steps"] else " The steps are not equal, so part of this may be longer training."
    if method["rounds"] > 1:
        steps = f" It has {method['rounds']} rounds of training, its baseline one."
    return kind, f"{method['method']} against {baseline}: {mean} AP ({support}).{steps}"
