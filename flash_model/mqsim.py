"""A flash profile out of MQSim's ``ssdconfig.xml``.

===========================  ======================================================================
Flash_Channel_Count          channels
Chip_No_Per_Channel          times Die_No_Per_Chip: dies, one chip enable each
Plane_No_Per_Die             planes; times Block_No_Per_Plane: blocks
Page_No_Per_Block            pages
Page_Capacity                user bytes; Page_Metadat_Capacity (so spelled, or in full): spare bytes
Channel_Transfer_Rate        MT/s; Flash_Channel_Width must be 1 byte
Page_Read_Latency_*          tR in ns, the mean over the pages of a cell: LSB (SLC), LSB and MSB
                             (MLC), or LSB, CSB and MSB (TLC). MQSim gives each page its own
Page_Program_Latency_*       tPROG, likewise
Block_Erase_Latency          tBERS in ns
Block_PE_Cycles_Limit        erases that a block endures
Flash_Technology             SLC, MLC or TLC
Flash_Comm_Protocol          must be NVDDR2
===========================  ======================================================================

The bus's other times, tCS among them, are MQSim's own for NV-DDR2, which lie in its source and in
no configuration; what it has no notion of is as in `flash_model.profiles.COMMON`.
"""

import os
import xml.etree.ElementTree as ElementTree
from fractions import Fraction

from .profiles import COMMON, Profile, make_profile

__all__ = ["T_CS_NS", "read_mqsim"]

T_CS_NS = 20
"""MQSim's chip enable setup, paid by every command."""

_LEVELS = {"SLC": ("LSB",), "MLC": ("LSB", "MSB"), "TLC": ("LSB", "CSB", "MSB")}
_WORDS = ("Flash_Technology", "Flash_Comm_Protocol")
_NUMBERS = (
    "Flash_Channel_Count",
    "Flash_Channel_Width",
    "Channel_Transfer_Rate",
    "Chip_No_Per_Channel",
    "Die_No_Per_Chip",
    "Plane_No_Per_Die",
    "Block_No_Per_Plane",
    "Page_No_Per_Block",
    "Page_Capacity",
    "Page_Metadat_Capacity",
    "Block_Erase_Latency",
    "Block_PE_Cycles_Limit",
)
_SPELLINGS = {"Page_Metadat_Capacity": ("Page_Metadat_Capacity", "Page_Metadata_Capacity")}


def read_mqsim(path, *, name="mqsim") -> Profile:
    """The profile that a configuration of MQSim describes.

    Parameters
    ----------
    path : path-like
        The XML file.
    name : str
        Name of the profile.

    Raises
    ------
    ValueError
        If it is no XML, lacks parameters (all are named), has a value that is no number, or one
        that a profile cannot have.
    """
    where = os.fspath(path)
    try:
        root = ElementTree.parse(where).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{where} is no XML: {error}") from None
    found = {element.tag: (element.text or "").strip() for element in root.iter()}

    technology = found.get("Flash_Technology", "")
    if technology and technology not in _LEVELS:
        raise ValueError(
            f"{where}: Flash_Technology = {technology!r} is not known: choose {', '.join(_LEVELS)}"
        )
    kinds = ("Read", "Program")
    latencies = {
        kind: [f"Page_{kind}_Latency_{level}" for level in _LEVELS.get(technology, ())]
        for kind in kinds
    }
    wanted = [*_NUMBERS, *latencies["Read"], *latencies["Program"]]
    texts = {
        tag: next((found[s] for s in _SPELLINGS.get(tag, (tag,)) if s in found), None)
        for tag in (*_WORDS, *wanted)
    }
    if missing := [tag for tag, text in texts.items() if text is None]:
        raise ValueError(f"{where} lacks {', '.join(missing)}")

    def number(tag):
        text = texts[tag] or ""
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"{where}: {tag} = {text!r} is no whole number")
        return int(text)

    for tag, only in (("Flash_Comm_Protocol", "NVDDR2"), ("Flash_Channel_Width", "1")):
        if texts[tag] != only:
            raise ValueError(f"{where}: {tag} = {texts[tag]!r} is not modelled: choose {only}")

    def mean(kind):
        values = [number(tag) for tag in latencies[kind]]
        return round(Fraction(sum(values), len(values)))

    def of(*tags):
        return f"simulator: MQSim, {' x '.join(tags)}"

    blocks = number("Block_No_Per_Plane") * number("Plane_No_Per_Die")
    table = COMMON | {
        "channels": (number("Flash_Channel_Count"), of("Flash_Channel_Count")),
        "dies": (
            number("Chip_No_Per_Channel") * number("Die_No_Per_Chip"),
            of("Chip_No_Per_Channel", "Die_No_Per_Chip"),
        ),
        "planes": (number("Plane_No_Per_Die"), of("Plane_No_Per_Die")),
        "blocks": (blocks, of("Block_No_Per_Plane", "Plane_No_Per_Die")),
        "pages": (number("Page_No_Per_Block"), of("Page_No_Per_Block")),
        "page_bytes": (number("Page_Capacity"), of("Page_Capacity")),
        "spare_bytes": (number("Page_Metadat_Capacity"), of("Page_Metadat_Capacity")),
        "rate_mts": (number("Channel_Transfer_Rate"), of("Channel_Transfer_Rate")),
        "t_r_ns": (mean("Read"), f"{of('Page_Read_Latency')}, mean of {technology}'s pages"),
        "t_prog_ns": (
            mean("Program"),
            f"{of('Page_Program_Latency')}, mean of {technology}'s pages",
        ),
        "t_cs_ns": (T_CS_NS, "simulator: its source, NV-DDR2"),
        "t_bers_ns": (number("Block_Erase_Latency"), of("Block_Erase_Latency")),
        "bits_per_cell": (len(_LEVELS[technology]), of("Flash_Technology")),
        "bad_blocks": (blocks // 50, "assumed: 2 % of the blocks"),
        "erases": (number("Block_PE_Cycles_Limit"), of("Block_PE_Cycles_Limit")),
    }
    try:
        return make_profile(name, table)
    except ValueError as error:
        raise ValueError(f"{where} describes no flash that can be built: {error}") from None
