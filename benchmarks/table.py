"""One line of the benchmarks' table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table. `reach` is the most that `ratio` may be, or `ours` itself where nothing is compared."""

    what: str
    ours: float
    unit: str
    reach: float
    against: str = ""
    baseline: float = 0.0

    @property
    def value(self) -> float:
        """What is held against `reach`."""
        return self.ours / self.baseline if self.baseline else self.ours

    @property
    def reached(self) -> bool:
        """True when the number is as good as it should be."""
        return self.value <= self.reach

    def __str__(self) -> str:
        compared = f"{self.value:.2f} x {self.baseline:.0f} {self.unit} ({self.against})" if self.baseline else ""
        verdict = "reached" if self.reached else "MISSED"
        return f"{self.what:<46} {self.ours:>7.1f} {self.unit:<6} {compared:<58} reach ≤ {self.reach:g}  {verdict}"
