"""Names that look alike: nobody gets one by accident."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from gallery_kit import make, new

from facekeep.errors import InputError, NameConflict, PersonExists, PersonNotFound
from facekeep.gallery import Gallery
from facekeep.gallery.names import make_skeletons

ALIKE = [
    "tony blair",
    "TONY  BLAIR",
    "Tony\u200b Blair",
    "\u200eTony Blair\u200f",
    "Tony\u034f Blair",
    "\uff34\uff4f\uff4e\uff59 Blair",
    "T\u043eny Blair",  # a Cyrillic letter
    "\u03a4ony Blair",  # a Greek letter
    "tony_BLAIR",
]


@pytest.mark.parametrize("name", ALIKE)
def test_a_name_that_looks_like_somebodys_is_asked_about(gallery: Gallery, name: str) -> None:
    person = gallery.enroll("Tony Blair", [new(1)])
    other = gallery.enroll("Ada", [new(2), new(3)])
    assert other.templates is not None
    for change in (
        lambda: gallery.enroll(name, [new(4)]),
        lambda: gallery.name_for(name),
        lambda: gallery.rename("Ada", name),
        lambda: gallery.split("Ada", [other.templates[0].id], name),
    ):
        with pytest.raises(NameConflict, match="looks like 'Tony Blair', who is enrolled"):
            change()
    assert [p.name for p in gallery.people()] == ["Ada", "Tony Blair"]
    with pytest.raises(PersonNotFound, match="did you mean 'Tony Blair'"):
        gallery.person(name)
    assert gallery.enroll(name, [new(5)], new_person=True).id != person.id
    assert gallery.count() == 3
    assert gallery.enroll("Tony Blair", [new(6)]).id == person.id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Zoe", "Zo\u00eb"),
        ("Ada 1", "Ada 2"),
        ("Ann Lee", "Annlee"),
        ("\u7530\u4e2d", "\u7530\u53e3"),
        ("Anna", "Anne"),
    ],
)
def test_names_that_differ_are_different(gallery: Gallery, one: str, other: str) -> None:
    gallery.enroll(one, [new(1)])
    gallery.enroll(other, [new(2)])
    assert gallery.count() == 2


def test_case_is_told_in_every_script_and_forms_of_letters() -> None:
    pairs = [
        ("\u0412\u041e\u0412\u0410", "\u0432\u043e\u0432\u0430"),
        ("\u039d\u039f\u0392\u0391", "\u03bd\u03bf\u03b2\u03b1"),
        ("Stra\u00dfe", "STRASSE"),
        ("Rene\u0301e", "REN\u00c9E"),
        ("O\u2019Brien", "O'Brien"),
        ("Ann\u2010Marie", "Ann-Marie"),
    ]
    assert [pair for pair in pairs if not make_skeletons(pair[0]) & make_skeletons(pair[1])] == []


@pytest.mark.parametrize(("stored", "asked"), [("Tony Blair", "Tony_Blair"), ("A_B_C", "A B C")])
def test_underscores_stand_for_spaces(gallery: Gallery, stored: str, asked: str) -> None:
    person = gallery.enroll(stored, [new(1)])
    assert gallery.enroll(asked, [new(2)]).id == person.id
    assert gallery.person(asked).name == gallery.name_for(asked) == stored
    assert gallery.rename(asked, asked).name == asked, "whose name it is may be spelled anew"
    assert gallery.person(stored).template_count == 2


def test_both_spellings_may_be_said_to_be_two_people(gallery: Gallery) -> None:
    one = gallery.enroll("Tony Blair", [new(1)])
    two = gallery.enroll("Tony_Blair", [new(2)], new_person=True)
    assert gallery.person("Tony Blair").id == one.id
    assert gallery.person("Tony_Blair").id == two.id
    assert gallery.merge(["Tony_Blair"], "Tony Blair").template_count == 2


@pytest.mark.parametrize(
    "name", ["\u200b", "\u200e \u200f", "_", "Ada\u202egnik", "\u2066Ada\u2069"]
)
def test_names_that_cannot_be_seen_or_reorder_text_are_refused(gallery: Gallery, name: str) -> None:
    person = gallery.enroll("Ada", [new(1), new(2)])
    assert person.templates is not None
    for change in (
        lambda: gallery.enroll(name, [new(3)]),
        lambda: gallery.rename("Ada", name),
        lambda: gallery.split("Ada", [person.templates[0].id], name),
    ):
        with pytest.raises(InputError, match="name"):
            change()
    assert gallery.person("Ada") == person


def test_somebody_of_an_older_gallery_with_such_a_name_can_be_renamed(gallery: Gallery) -> None:
    with gallery._session.write(rewrite=False) as rows:
        rows.add_template(rows.add_person("A\u202eda"), new(1))
        rows.record("imported", None)
    assert gallery.rename("A\u202eda", "Ada").name == "Ada"


def test_changes_of_other_processes_are_seen(path: Path) -> None:
    with make(path) as one, make(path) as two:
        one.enroll("Ada", [new(1)])
        one.enroll("Bea", [new(2)])
        with pytest.raises(NameConflict):
            two.enroll("ada", [new(3)])
        one.rename("Bea", "Cleo")
        one.remove("Ada")
        two.enroll("ada", [new(3)])
        two.enroll("bea", [new(4)])
        with pytest.raises(NameConflict):
            two.enroll("cleo", [new(5)])
        assert [p.name for p in one.people()] == ["Cleo", "ada", "bea"]


def test_what_was_rolled_back_is_not_remembered(gallery: Gallery, tmp_path: Path) -> None:
    gallery.enroll("Ada", [new(1)])
    gallery.enroll("Bea", [new(2)])
    gallery.export(tmp_path / "all.jsonl")
    gallery.remove("Ada")
    gallery.enroll("bea b", [new(3)])
    with pytest.raises(PersonExists):
        gallery.import_(tmp_path / "all.jsonl")  # Ada is added, then Bea is there already
    gallery.enroll("ada", [new(4)])
    with pytest.raises(NameConflict):
        gallery.enroll("ADA", [new(5)])


def test_many_names_are_read_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with make(path) as gallery:
        with gallery._session.write(rewrite=False) as rows:
            for number in range(1500):
                rows.add_template(rows.add_person(f"Person {number}"), new(number))
            rows.record("imported", None)
        with pytest.raises(NameConflict, match="'Person 1234'"):
            gallery.enroll("person_1234", [new()])
        gallery.enroll("Person 1500", [new()])


def test_import_treats_alike_names_as_taken(gallery: Gallery, tmp_path: Path) -> None:
    file = tmp_path / "people.jsonl"
    gallery.enroll("ADA", [new(1)])
    gallery.export(file)
    gallery.remove("ADA")
    gallery.enroll("Ada", [new(2)])
    with pytest.raises(NameConflict, match=r"'ADA' looks like 'Ada'.*on_conflict merge"):
        gallery.import_(file)
    assert gallery.import_(file, on_conflict="skip").skipped == 1
    assert gallery.import_(file, on_conflict="merge").merged == 1
    assert gallery.person("Ada").template_count == 2
    assert gallery.import_(file, on_conflict="rename").added == 1
    gallery.remove("ADA (2)")
    assert gallery.import_(file, new_person=True).added == 1
    assert [p.name for p in gallery.people()] == ["ADA", "Ada"]


def test_alike_names_within_one_import(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "people.jsonl"
    with make(path) as gallery:
        gallery.enroll("Ada", [new(1)])
        gallery.enroll("ada", [new(2)], new_person=True)
        gallery.export(file)
    with make(tmp_path / "other.db") as other:
        with pytest.raises(NameConflict):
            other.import_(file)
        assert other.count() == 0
        assert other.import_(file, new_person=True).added == 2


def test_a_person_is_found_by_the_beginning_of_the_id(gallery: Gallery) -> None:
    person = gallery.enroll("Ada", [new(1)])
    assert gallery.person(person.id) == gallery.person(person.id[:8]) == person
    for wrong in (person.id[:7], "~" + person.id[:8], person.id[:8] + "zzzz"):
        with pytest.raises(PersonNotFound):
            gallery.person(wrong)
    named = gallery.enroll(person.id[:8], [new(2)])
    assert gallery.person(person.id[:8]).id == named.id != person.id, "a name comes first"


def test_templates_may_be_named_by_the_beginnings_of_their_ids(gallery: Gallery) -> None:
    person = gallery.enroll("Ada", [new(n) for n in range(40)])
    assert person.templates is not None
    ids = [template.id for template in person.templates]
    double = next(a[0] for a, b in itertools.pairwise(sorted(ids)) if a[0] == b[0])
    with pytest.raises(InputError, match="several templates of 'Ada' begin with"):
        gallery.remove_templates("Ada", [double])
    with pytest.raises(InputError, match="not templates of 'Ada'"):
        gallery.remove_templates("Ada", [""])
    left = gallery.remove_templates("Ada", [ids[3][:12], ids[4]])
    assert [t.id for t in left.templates or ()] == [x for x in ids if x not in ids[3:5]]
    assert gallery.split("Ada", [ids[0][:12]], "Bea").template_count == 1
