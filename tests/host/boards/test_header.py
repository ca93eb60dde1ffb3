"""``instinfer.h``: the C compiler reads it, packs records with it, and agrees with the host."""

import random
import re
import subprocess

import pytest

from host.boards.header import c_header
from host.boards.sidecar import RECORDS, layouts
from rtl import commands, registers, tables
from rtl.config import DriveConfig
from tests.host.boards.c_compiler import STRICT, skip_unless_known

LAYOUTS = {layout.name.replace(".", "_").upper(): layout for layout, _ in RECORDS}


@pytest.fixture(scope="module")
def config():
    return DriveConfig.preset("tiny")


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("header")
    (folder / "instinfer.h").write_text(c_header(config))
    return folder


def compiled(folder, text, *options, name="program.c", tool="gcc"):
    """Path of the program that a compiler makes of a text; it fails where there is a warning."""
    (folder / name).write_text(text)
    out = folder / "program"
    subprocess.run([tool, *STRICT, *options, name, "-o", out], cwd=folder, check=True)
    return out


def printed(program):
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    "tool, name, options",
    [
        ("gcc", "a.c", ("-std=c99",)),
        ("gcc", "a.c", ("-std=c11", "-O2")),
        ("gcc", "a.c", ("-std=c99", "-ffreestanding", "-m32")),
        ("g++", "a.cpp", ("-std=c++11",)),
        ("g++", "a.cpp", ("-std=c++20", "-O2")),
    ],
)
def test_compilers_take_it_without_a_word(folder, tool, name, options):
    skip_unless_known(options)
    text = '#include "instinfer.h"\n#include "instinfer.h"\nint instinfer_used;\n'
    compiled(folder, text, "-c", *options, name=name, tool=tool)


def test_a_warning_would_fail(folder):
    with pytest.raises(subprocess.CalledProcessError):
        compiled(folder, '#include "instinfer.h"\nint f(int unused) { return 0; }\n', "-c")


def test_records_packed_in_c_are_those_of_the_host(folder):
    """Random values of all fields, set in C in any order, read back in C."""
    rng = random.Random(7)
    lines, wanted = [], []
    for name, layout in LAYOUTS.items():
        for _ in range(3):
            values = {
                field.name: rng.choice([0, (1 << field.width) - 1, rng.getrandbits(field.width)])
                for field in layout.fields.values()
            }
            wanted.append([name, layout.pack(**values).hex(), *map(str, values.values())])
            low = name.lower()
            sets = [
                f"instinfer_set_{low}_{field}(record, {values[field]:#x}ull);"
                for field in rng.sample(list(values), len(values))
            ]
            gets = [f"say(instinfer_get_{low}_{field}(record));" for field in values]
            begin = f'{{ uint64_t record[INSTINFER_{name}_WORDS] = {{0}}; printf("{name} ");'
            lines += [begin, *sets, f"bytes(record, INSTINFER_{name}_BYTES);", *gets, 'puts(""); }']
    text = f"""
    #include <stdio.h>
    #include "instinfer.h"
    static void bytes(const uint64_t *record, unsigned count)
    {{
        for (unsigned n = 0; n < count; n++)
            printf("%02x", ((const unsigned char *)record)[n]);
    }}
    static void say(uint64_t value)
    {{
        printf(" %llu", (unsigned long long)value);
    }}
    int main(void)
    {{
        {chr(10).join(lines)}
        return 0;
    }}
    """
    out = subprocess.run(
        [compiled(folder, text, "-std=c99")], capture_output=True, text=True
    ).stdout
    assert [line.split() for line in out.splitlines()] == wanted


def test_setting_a_field_leaves_the_others_alone(folder):
    """A word of ones keeps all its ones but those of the field; what is too large is cut off."""
    lines = []
    for name, layout in LAYOUTS.items():
        for field in layout.fields.values():
            word, low = divmod(field.offset, 64)
            ones = (1 << field.width) - 1 << low
            rest, base = ones ^ (1 << 64) - 1, f"INSTINFER_{name}_{field.name.upper()}"
            call = f"instinfer_set_{name.lower()}_{field.name}"
            lines.append(f"memset(r, 255, sizeof r); {call}(r, 0); bad |= r[{word}] != {rest}ull;")
            lines.append(
                f"memset(r, 0, sizeof r); {call}(r, ~0ull); bad |= r[{word}] != {ones}ull;"
            )
            lines.append(f"bad |= {base}_MASK != {ones}ull || {base}_WORD != {word};")
            lines.append(f"bad |= {base}_SHIFT != {low};")
            lines.append(f'if (bad) {{ puts("{name}.{field.name}"); return 1; }}')
    text = '#include <stdio.h>\n#include <string.h>\n#include "instinfer.h"\n'
    text += f"int main(void) {{ uint64_t r[16]; int bad = 0; {chr(10).join(lines)} return 0; }}"
    done = subprocess.run([compiled(folder, text, "-std=c99")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def defines(config):
    found = re.findall(
        r"^#define INSTINFER_(\w+)(\(\w+\))? (\S+|\(.*?\)\))", c_header(config), re.M
    )
    names = [name for name, _, _ in found]
    assert len(names) == len(set(names)), "a name is defined twice"
    return {name: value for name, _, value in found}


def test_every_register_field_code_and_constant_is_defined(config):
    names = defines(config)

    def value(name):
        return int(names.pop(name).rstrip("ul"), 0)

    for name, register in registers.REGISTERS.items():
        if register.count == 1:
            assert value(f"REG_{name}") == register.address
        for field in register.fields:
            base = f"REG_{name}_{field.name.upper()}"
            assert value(f"{base}_SHIFT") == field.offset
            assert value(f"{base}_MASK") == register.mask(field.name)
    for name in registers.COUNTERS:
        assert value(f"COUNTER_{name.upper()}") == registers.counter_address(name)
    for kind, prefix in (
        (commands.Opcode, "OPCODE"),
        (commands.Status, "STATUS"),
        (commands.AttendMode, "ATTEND_MODE"),
        (commands.ResultFlag, "RESULT_FLAG"),
    ):
        for member in kind:
            assert value(f"{prefix}_{member.name}") == member.value
    assert value("PAGE_KIND_TAILS") == tables.PageKind.TAILS
    assert value("SEQUENCE_STATE_CLOSED") == tables.SequenceState.CLOSED
    assert value("CHANNELS") == config.channels and value("MAX_ATTEND") == config.max_attend
    assert value("DRIVE_ID") == registers.DRIVE_ID


def test_rows_of_registers_and_counters_of_channels(folder, config):
    wanted = [0x2040 + 4 * 15, registers.channel_counter_address(1, "pages_read")]
    wanted += [3 << 24, 0x12, 0xE0]
    text = """
    #include <stdio.h>
    #include "instinfer.h"
    int main(void)
    {
        printf("%u %u %u %u %u", INSTINFER_REG_MAILBOX_SQE(15),
               INSTINFER_CHANNEL_COUNTER_PAGES_READ(1),
               INSTINFER_PUT(INSTINFER_REG_FLASH_ROW_DIE, 0x103),
               INSTINFER_TAKE(INSTINFER_REG_FLASH_OP_CHANNEL, 0xabcd1234),
               INSTINFER_TAKE(INSTINFER_REG_FLASH_STATUS_DIE_STATUS, 0xe003));
        return 0;
    }
    """
    out = subprocess.run(
        [compiled(folder, text, "-std=c99")], capture_output=True, text=True
    ).stdout
    assert list(map(int, out.split())) == wanted


def test_a_big_endian_processor_is_told(folder):
    (folder / "big.c").write_text(
        "#undef __BYTE_ORDER__\n#define __BYTE_ORDER__ __ORDER_BIG_ENDIAN__\n"
        '#include "instinfer.h"\n'
    )
    done = subprocess.run(["gcc", "-c", "big.c"], cwd=folder, capture_output=True, text=True)
    assert done.returncode and "records are little endian, this processor is not" in done.stderr


def test_a_field_across_words_is_refused(config, monkeypatch):
    drive = layouts(config)
    drive["records"][0]["fields"].append({"name": "wide", "bit": 60, "width": 8, "doc": ""})
    monkeypatch.setattr("host.boards.header.layouts", lambda config: drive)
    with pytest.raises(ValueError, match=r"SQE.wide lies in bits 60..67 of a 64-bit word"):
        c_header(config)
