"""The picture of the embedders: a circle and a name for each."""

from __future__ import annotations

import runpy
from pathlib import Path
from xml.etree import ElementTree

DRAW = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "draw_choice.py"))["draw"]
SVG = "{http://www.w3.org/2000/svg}"


def test_the_more_accurate_is_higher_and_the_slower_further_right() -> None:
    facts = {"memory": 50_000_000, "terms": "free"}
    models = [
        {**facts, "name": "slow&good", "seconds": 0.02, "lfw": 99.5},
        {**facts, "name": "fast", "seconds": 0.004, "lfw": 98.1},
    ]
    root = ElementTree.fromstring(DRAW(models))
    fast, slow = root.iter(f"{SVG}circle")
    assert float(slow.attrib["cx"]) > float(fast.attrib["cx"])
    assert float(slow.attrib["cy"]) < float(fast.attrib["cy"])
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert {"slow&good", "fast", "● free"} <= set(texts)


def test_names_of_neighbors_do_not_cover_each_other() -> None:
    facts = {"memory": 50_000_000, "terms": "free"}
    names = ("espressif-mfn", "intel-0095", "espressif-mbf")
    models = [
        {**facts, "name": name, "seconds": seconds, "lfw": lfw}
        for name, seconds, lfw in zip(
            names, (0.009, 0.0127, 0.0141), (99.4, 99.5, 99.55), strict=True
        )
    ]
    models.append({**facts, "name": "sface", "seconds": 0.0195, "lfw": 98.1})
    texts = ElementTree.fromstring(DRAW(models)).iter(f"{SVG}text")
    places = [
        (float(each.attrib["x"]), float(each.attrib["y"])) for each in texts if each.text in names
    ]
    for at, (x, y) in enumerate(places):
        for other_x, other_y in places[:at]:
            assert abs(x - other_x) > 80 or abs(y - other_y) > 12


def test_names_touch_no_circle() -> None:
    facts = {"memory": 50_000_000, "terms": "free"}
    models = [
        {**facts, "name": "intel-0095", "seconds": 0.0139, "lfw": 99.5},
        {**facts, "name": "espressif-mbf", "seconds": 0.0147, "lfw": 99.55},
        {**facts, "name": "facekeep-xxs", "seconds": 0.0001, "lfw": 98.1},
    ]
    root = ElementTree.fromstring(DRAW(models))
    circles = [
        [float(each.attrib[key]) for key in ("cx", "cy", "r")] for each in root.iter(f"{SVG}circle")
    ]
    names = {each["name"] for each in models}
    for each in root.iter(f"{SVG}text"):
        if each.text in names:
            x, baseline, width = (
                float(each.attrib["x"]),
                float(each.attrib["y"]),
                6 * len(each.text),
            )
            left = x - {"start": 0, "middle": width / 2, "end": width}[each.attrib["text-anchor"]]
            for cx, cy, radius in circles:
                away_x = max(left - cx, cx - left - width, 0)
                away_y = max(baseline - 9 - cy, cy - baseline, 0)
                assert away_x**2 + away_y**2 > radius**2
