"""Reference and sidecar: everything that the layouts have is named, once, where it belongs."""

import html.parser
import json
import re
from collections import Counter

import pytest

from hls_attention.output import PARTIAL_HEADER
from host.boards.document import bit_map, heading, markdown, page, table
from host.boards.reference import reference_html, reference_markdown
from host.boards.sidecar import PARTIAL_DOCS, RECORDS, layouts
from rtl import commands, registers
from rtl.commands import COMMANDS, Opcode, Status
from rtl.config import DriveConfig
from rtl.nand.operations import Cause, NandOp


@pytest.fixture(scope="module")
def config():
    return DriveConfig.preset("tiny")


@pytest.fixture(scope="module")
def drive(config):
    """As a reader of the JSON has it."""
    return json.loads(json.dumps(layouts(config)))


def by_name(rows):
    names = [row["name"] for row in rows]
    assert len(names) == len(set(names))
    return {row["name"]: row for row in rows}


def test_registers_and_counters(drive):
    found = by_name(drive["registers"])
    assert list(found) == list(registers.REGISTERS)
    for name, register in registers.REGISTERS.items():
        row = found[name]
        assert (row["address"], row["access"], row["count"]) == (
            register.address,
            register.access,
            register.count,
        )
        fields = by_name(row["fields"])
        assert {n: (f["bit"], f["width"]) for n, f in fields.items()} == {
            f.name: (f.offset, f.width) for f in register.fields
        }
        used = [b for f in register.fields for b in range(f.offset, f.offset + f.width)]
        assert len(used) == len(set(used)) and max(used, default=0) < 32
    assert {n: r["address"] for n, r in by_name(drive["counters"]).items()} == {
        name: registers.counter_address(name) for name in registers.COUNTERS
    }
    for name, row in by_name(drive["channel_counters"]).items():
        for channel in (0, 1, 15):
            at = registers.channel_counter_address(channel, name)
            assert row["address"] + channel * row["stride"] == at


def test_values_and_what_is_said_of_them(drive):
    found = {
        name: {v["name"]: v["value"] for v in row["values"]}
        for name, row in by_name(drive["enumerations"]).items()
    }
    for kind in (Opcode, Status, commands.AttendMode, commands.ResultFlag, NandOp, Cause):
        assert found[kind.__name__] == {member.name: member.value for member in kind}
    assert found["SequenceState"] == {"FREE": 0, "OPEN": 1, "CLOSED": 2}
    assert found["PageKind"] == {"K": 0, "V": 1, "STATE": 2, "TAILS": 3, "COLUMNS": 4}
    assert found["Format"] == {"FP16": 0, "BF16": 1}
    docs = {v["name"]: v["doc"] for v in by_name(drive["enumerations"])["Cause"]["values"]}
    assert docs["NO_WORDS"] == "READ or PROGRAM of no words"
    assert all(docs.values())
    assert all(v["doc"] for v in by_name(drive["enumerations"])["Status"]["values"])


def test_records_and_commands(drive):
    found = by_name(drive["records"])
    for layout, _ in RECORDS:
        row = found.pop(layout.name.replace(".", "_").upper())
        assert row["bytes"] == layout.size and row["doc"]
        assert {n: (f["bit"], f["width"]) for n, f in by_name(row["fields"]).items()} == {
            f.name: (f.offset, f.width) for f in layout.fields.values()
        }
    assert list(found) == ["PARTIAL_HEADER"]
    assert set(PARTIAL_DOCS) == {name for name, _ in PARTIAL_HEADER} - {"reserved"}
    rows = by_name(drive["commands"])
    assert {name: row["opcode"] for name, row in rows.items()} == {o.name: int(o) for o in Opcode}
    places = {(r["name"], f["name"]) for r in drive["records"] for f in r["fields"]}
    readers = {}
    for opcode in Opcode:
        fields = [(f["record"], f["name"]) for f in rows[opcode.name]["fields"]]
        assert bool(rows[opcode.name]["data"]) == (opcode & 3 != 0)
        assert set(fields) <= places and len(fields) == len(set(fields))
        for _, name in fields:
            readers.setdefault(name, set()).add(opcode.name)
    for name, field in commands.SQE.fields.items():  # a field says itself which commands read it
        if field.doc.startswith("CDW"):
            assert readers[name] == set(re.findall(r"\w+", field.doc)) & set(rows), name
    assert set(COMMANDS) == set(Opcode)


def cells(text):
    return Counter(
        cell.strip()
        for line in text.splitlines()
        if line.startswith("| ")
        for cell in line.split(" | ")[:-1]
        for cell in [cell.strip("| ")]
    )


def sections(text):
    """Title -> text of the parts under headings of level 2."""
    parts = re.split(r"^## (.*)$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def test_markdown_names_everything_once(config):
    text = reference_markdown(config)
    parts = sections(text)
    known = ["This drive", "Terms", "Registers", "Counters", "Commands", "Values", "Records"]
    assert list(parts) == known
    summary = cells(parts["Registers"].split("###")[0])
    assert all(summary[name] == 1 for name in registers.REGISTERS)
    for name, register in registers.REGISTERS.items():
        found = re.findall(
            rf"^### {name} \(.*?\)$(.*?)(?=^### |\Z)", parts["Registers"], re.M | re.S
        )
        assert len(found) == bool(register.fields)
        for field in register.fields:
            assert cells(found[0])[field.name] == 1 and field.doc in found[0]
    assert all(cells(parts["Counters"])[name] >= 1 for name in registers.CHANNEL_COUNTERS)
    assert all(cells(parts["Counters"])[n] == 1 for n in registers.COUNTERS if "pages" not in n)
    assert all(cells(parts["Commands"])[opcode.name] == 1 for opcode in Opcode)
    status = parts["Values"].split("### Status")[1].split("###")[0]
    assert all(cells(status)[each.name] == 1 for each in Status)
    for layout, _ in RECORDS:
        name = layout.name.replace(".", "_").upper()
        part = parts["Records"].split(f"### {name} (")[1].split("###")[0]
        assert all(cells(part)[field] == 1 for field in layout.fields)


def test_terms_are_defined_and_names_are_the_folders(config):
    text = reference_markdown(config)
    terms = sections(text)["Terms"]
    for term in ("stripe", "column", "stream", "segment", "unit"):
        assert re.search(rf"\b{term}s?\b", text.replace(terms, "")), "nobody uses it"
        assert re.search(rf"^\| {term} \|", terms, re.M)
    assert "``" not in text, "a name between backticks of another language"
    drive = layouts(config)
    rows = [*drive["registers"], *drive["records"]]
    own = {field["name"] for row in rows for field in row["fields"]}
    assert set(re.findall("`(.+?)`", text)) <= own


class Reader(html.parser.HTMLParser):
    """Text of table cells, paragraphs and headings; fails where tags are not closed in order."""

    EMPTY = ("meta", "br")
    TEXTS = ("td", "h2", "h3", "p")

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.ids, self.links, self.spans = [], [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag in self.TEXTS:
            self.texts.append("")
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "a":
            self.links.append(attributes["href"])
        if tag == "tr":
            self.spans.append(0)
        if "colspan" in attributes:
            self.spans[-1] += int(attributes["colspan"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if set(self.open[-2:]) & set(self.TEXTS):
            self.texts[-1] += data


def test_the_page_says_what_the_markdown_says(config):
    text = reference_html(config)
    reader = Reader(text)
    assert len(reader.ids) == len(set(reader.ids))
    assert {link[1:] for link in reader.links} == set(reader.ids) - {reader.ids[0]}
    assert {spans for spans in reader.spans if spans} == {32, 64}, "a row of bits is not whole"
    assert not re.search(r"(src|href)=\"(?!#)", text), "it needs something else"
    said = set(reader.texts)
    assert not any("`" in text for text in said)
    for line in reference_markdown(config).splitlines():
        if line.startswith("| ") and "---" not in line:
            for cell in line.strip("| ").replace("\\|", "/").replace("`", "").split(" | "):
                assert not cell or cell in said or "/" in cell or cell in text, cell


def test_a_document_is_escaped():
    blocks = [heading(1, "a < b"), table(("x",), [("p | q & <r>",)]), bit_map(8, 1, [("f", 2, 3)])]
    assert markdown(blocks) == "# a < b\n\n| x |\n| --- |\n| p \\| q & <r> |\n"
    made = page(blocks)
    assert "<title>a &lt; b</title>" in made and "p | q &amp; &lt;r&gt;" in made
    row = '<tr><td class="free" colspan="3"></td><td colspan="3" title="f">f</td>'
    assert row + '<td class="free" colspan="2"></td></tr>' in made
