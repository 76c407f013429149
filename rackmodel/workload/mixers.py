"""The kinds of layers that keep a state: what each holds, computes for a token, and keeps.

In:  the widths that a model card or a `config.json` gives.
Out: per kind: parameters, FLOPs of mixing one token, what is kept for each token and each sequence.
Left out: how a kind is cut over ranks (`layers`), which layer is of which kind (`models`).

A kind is a small record with the same few answers, so that a model, a step, a cache and a plan ask
without knowing which kind it is. `matrices` are the parameters that a token is multiplied with,
`vectors` the rest (norms, convolutions, decays, biases that the kind always has).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


class Recurrent(ABC):
    """A kind with a state of fixed size: projection in, short convolution, scan, projection out."""

    __slots__ = ()

    @property
    @abstractmethod
    def in_width(self) -> int:
        """Columns of the projection in."""

    @property
    @abstractmethod
    def mixed(self) -> int:
        """Channels that the convolution takes and the scan reads."""

    @property
    @abstractmethod
    def inner(self) -> int:
        """Channels that the scan gives and the projection out takes."""

    @property
    @abstractmethod
    def vectors(self) -> int:
        """Parameters besides the matrices."""

    @property
    @abstractmethod
    def kept_elements(self) -> int:
        """Elements kept of one sequence, however long: the state, and the convolution's window."""

    @property
    @abstractmethod
    def units(self) -> dict[str, int]:
        """What tensor parallelism must divide, by name."""

    @property
    def scan_shape(self) -> tuple[int, int, int]:
        """Heads, width of a head, and rows of its state; heads 0: there is no scan."""
        return 0, 0, 0

    @property
    def up_widths(self) -> dict[str, int]:
        """Columns of projections up from a low rank, by name."""
        return {}

    @property
    def up_rank(self) -> int:
        """The rank that they come from."""
        return 0

    def flops(self) -> float:
        """FLOPs of the scan for one token, forward, without matrices of parameters."""
        return 0.0

    def matrices(self, hidden: int) -> int:
        """Parameters of the projections."""
        return hidden * (self.in_width + self.inner)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba(Recurrent):
    """A Mamba-2 mixer: inner width is `heads * head_dim`. Source: arXiv:2405.21060, section 7."""

    heads: int
    head_dim: int
    state: int
    groups: int
    conv: int = 4

    @property
    def in_width(self) -> int:
        """Gate, input, B, C and step sizes."""
        return self.inner + self.mixed + self.heads

    @property
    def mixed(self) -> int:
        """Input, B and C."""
        return self.inner + 2 * self.groups * self.state

    @property
    def inner(self) -> int:
        """All heads."""
        return self.heads * self.head_dim

    @property
    def vectors(self) -> int:
        """Convolution with bias; A, D and step bias of each head; gated norm."""
        return self.mixed * (self.conv + 1) + 3 * self.heads + self.inner

    @property
    def kept_elements(self) -> int:
        """A matrix a head."""
        return self.inner * self.state + self.mixed * self.conv

    @property
    def units(self) -> dict[str, int]:
        """Heads and groups."""
        return {"heads": self.heads, "groups": self.groups}

    @property
    def scan_shape(self) -> tuple[int, int, int]:
        """As Mamba-2 names them."""
        return self.heads, self.head_dim, self.state

    def flops(self) -> float:
        """Chunks of 256 tokens: scores inside a chunk (half masked), then states in and out.

        Source: arXiv:2405.21060, section 6.
        """
        chunk = 256
        inside = chunk * self.groups * self.state + chunk * self.heads * self.head_dim
        return inside + 4.0 * self.state * self.heads * self.head_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class Selective(Recurrent):
    """A Mamba-1 mixer: every channel has a state of its own. Source: arXiv:2312.00752, section 3.

    `normed`: B, C and step sizes pass a norm (Jamba, arXiv:2403.19887, section 3.3).
    """

    width: int
    state: int
    rank: int
    conv: int = 4
    normed: bool = False

    @property
    def in_width(self) -> int:
        """Gate and input."""
        return 2 * self.width

    @property
    def mixed(self) -> int:
        """The input."""
        return self.width

    @property
    def inner(self) -> int:
        """All channels."""
        return self.width

    @property
    def vectors(self) -> int:
        """Convolution with bias, A, D, the step's bias; norms."""
        norms = (self.rank + 2 * self.state) * self.normed
        return self.width * (self.conv + 1 + self.state + 2) + norms

    @property
    def kept_elements(self) -> int:
        """A vector a channel."""
        return self.width * (self.state + self.conv)

    @property
    def units(self) -> dict[str, int]:
        """Channels."""
        return {"channels": self.width}

    @property
    def scan_shape(self) -> tuple[int, int, int]:
        """Each channel is a head."""
        return self.width, 1, self.state

    def matrices(self, hidden: int) -> int:
        """With those to B, C and the step sizes, and from the step's rank to all channels."""
        return hidden * 3 * self.width + self.width * (2 * self.rank + 2 * self.state)

    def flops(self) -> float:
        """Nine a channel and element of its state. Source: state-spaces/mamba, issue 110."""
        return 9.0 * self.width * self.state


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta(Recurrent):
    """A gated delta rule (linear attention with decay). Source: arXiv:2412.06464, section 3.

    Key heads are shared by groups of value heads, as in Qwen3-Next, whose projections these are:
    query, key, value, output gate, and two numbers a value head (decay and step).
    `decay_rank`: every channel of a key has a decay of its own; decays and gate pass so many
    columns each (Kimi Delta Attention, arXiv:2510.26692, section 3).
    """

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv: int = 4
    decay_rank: int = 0

    @property
    def in_width(self) -> int:
        """Query, key, value, gate, decay and step."""
        if self.decay_rank:
            return self.mixed + 2 * self.decay_rank + self.value_heads
        return self.mixed + self.inner + 2 * self.value_heads

    @property
    def up_widths(self) -> dict[str, int]:
        """Decays and gate, by name."""
        widths = {"decay_up": self.key_heads * self.key_dim, "gate_up": self.inner}
        return widths if self.decay_rank else {}

    @property
    def up_rank(self) -> int:
        """That of the decays."""
        return self.decay_rank

    def matrices(self, hidden: int) -> int:
        """With those up from low ranks."""
        down = hidden * (self.in_width + self.inner)
        return down + self.decay_rank * sum(self.up_widths.values())

    @property
    def mixed(self) -> int:
        """Query, key and value."""
        return 2 * self.key_heads * self.key_dim + self.inner

    @property
    def inner(self) -> int:
        """All value heads."""
        return self.value_heads * self.value_dim

    @property
    def vectors(self) -> int:
        """Convolution without bias, decay and its bias of each head, the gated norm of a head."""
        decays = self.up_widths.get("decay_up", self.value_heads)
        return self.mixed * self.conv + decays + self.value_heads + self.value_dim

    @property
    def kept_elements(self) -> int:
        """A matrix of keys x values a value head."""
        return self.inner * self.key_dim + self.mixed * self.conv

    @property
    def units(self) -> dict[str, int]:
        """Heads of both kinds."""
        return {"key heads": self.key_heads, "value heads": self.value_heads}

    @property
    def scan_shape(self) -> tuple[int, int, int]:
        """A state is as wide as a value and has as many rows as a key."""
        return self.value_heads, self.value_dim, self.key_dim

    def flops(self) -> float:
        """Chunks of 64 tokens in the WY form.

        Inside a chunk of C, half masked: keys by keys, queries by keys, the triangular inverse
        times keys and values, scores times values: C (3 key_dim + 2 value_dim), and C^2/3 x 2 for
        the inverse; then the state is read twice and written once: 6 key_dim value_dim.
        Source: arXiv:2406.06484, section 3.2, and arXiv:2412.06464, section 3.3.
        """
        chunk, k, v = 64, self.key_dim, self.value_dim
        inside = chunk * (3.0 * k + 2.0 * v) + 2.0 * chunk * chunk / 3.0
        return self.value_heads * (inside + 6.0 * k * v)


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution(Recurrent):
    """A gated short convolution (LFM2): input and two gates, `conv` tokens wide. No scan.

    Source: arXiv:2511.23404, section 3.
    """

    width: int
    conv: int = 3

    @property
    def in_width(self) -> int:
        """Both gates and the input."""
        return 3 * self.width

    @property
    def mixed(self) -> int:
        """The gated input."""
        return self.width

    @property
    def inner(self) -> int:
        """All channels."""
        return self.width

    @property
    def vectors(self) -> int:
        """The convolution."""
        return self.width * self.conv

    @property
    def kept_elements(self) -> int:
        """The last inputs."""
        return self.width * self.conv

    @property
    def units(self) -> dict[str, int]:
        """Channels."""
        return {"channels": self.width}
