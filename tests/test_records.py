"""`records.dataclass` does what `dataclasses.dataclass` does, of every class that it makes."""

import copy
import dataclasses
import inspect
import pickle

import pytest

from rackmodel.records import dataclass, field, fields, replace


def _classes(make):
    """Return the same classes, made by one or the other."""

    @make(frozen=True, slots=True, kw_only=True)
    class Base:
        number: int
        names: list = field(default_factory=list)
        hidden: int = field(default=3, compare=False, repr=False)

    @make(frozen=True, slots=True, kw_only=True)
    class More(Base):
        word: str = "a"
        made: int = field(init=False, default=5)

        def __post_init__(self) -> None:
            if self.number < 0:
                raise ValueError(self.number)

    @make(slots=True)
    class Free:
        a: int
        b: tuple = ()

    @make(frozen=True, eq=False)
    class Alone:
        """By identity."""

        a: int = 1

    @make(frozen=True)
    class Own:
        a: int
        key: int = field(default=0, kw_only=True)

        def __eq__(self, other: object) -> bool:
            return True

        def __repr__(self) -> str:
            return "own"

    return Base, More, Free, Alone, Own


ours, theirs = _classes(dataclass), _classes(dataclasses.dataclass)


def _told(classes):
    """Return what instances of the classes do, in words."""
    base, more, free, alone, own = classes
    one, other = more(number=1, word="b"), more(number=1, word="b", hidden=4)
    yield repr(base(number=2)), repr(one), repr(free(1)), repr(alone()), repr(own(3, key=1))
    yield one == other, one == replace(one, word="c"), free(1) == free(1, ()), alone() == alone()
    yield one == base(number=1), own(1) == own(2), hash(own(1)) == hash(own(1, key=1))
    yield replace(one, number=7).number, one.made, one.names is other.names
    yield [(f.name, f.default, f.kw_only, f.compare) for f in fields(more)]
    yield [str(inspect.signature(each)).replace("<factory>", "...") for each in (free, alone, own)]
    yield [each.__match_args__ for each in classes]
    yield copy.copy(one) == one, copy.deepcopy(free(1, ((),))) == free(1, ((),))
    for make, error in (
        (lambda: setattr(one, "word", "x"), AttributeError),
        (lambda: delattr(alone(), "a"), AttributeError),
        (lambda: more(number=-1), ValueError),
        (lambda: more(1), TypeError),
        (lambda: hash(free(1)), TypeError),
        (lambda: hash(one), TypeError),  # a list
    ):
        with pytest.raises(error) as found:
            make()
        yield type(found.value)
    free(1).a = 2


def test_it_does_what_dataclasses_do() -> None:
    for own, wanted in zip(_told(ours), _told(theirs), strict=True):
        assert own == wanted


def test_records_of_the_package_survive_pickle() -> None:
    from rackmodel.workload import Plan

    plan = Plan(tp=8, dp=2)
    again = pickle.loads(pickle.dumps(plan))
    assert (again, hash(again)) == (plan, hash(plan))
    assert again is not plan


def test_a_record_that_holds_itself_is_told() -> None:
    free = ours[2]([1])
    free.a.append(free)
    assert "..." in repr(free)
