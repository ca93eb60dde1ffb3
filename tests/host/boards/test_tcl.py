"""The small Tcl interpreter of the tests, against what Tcl(n) says and, where there is one, Tcl."""

import pytest

from tests.host.boards.tcl import Tcl, TclError

SCRIPTS = [
    ("set a 1; set b {x y}", "x y"),
    ("set a b\nset c $a/${a}d", "b/bd"),
    ('set a {p q}\nset b "[lindex $a 1] $a"', "q p q"),
    ("list a {b c} {} d\\ e", "a {b c} {} {d e}"),
    ("list [list {x y}] \\\n   z", "{{x y}} z"),
    ("llength [list a {b c} {}]", "3"),
    ("lindex {a {b c} d} 1", "b c"),
    ("lindex {a b} 7", ""),
    ("set l {}; lappend l a {b c}; lappend l d; set l", "a {b c} d"),
    ("set s {}\nforeach {a b} {1 2 3 4} { lappend s $b$a }\nset s", "21 43"),
    ("set s {}\nforeach a {x {y z}} {\n  lappend s $a\n}\nset s", "x {y z}"),
    ("if {1 < 10} {set a yes} else {set a no}", "yes"),
    ('if {"abc" eq "abd"} {set a 1} elseif {"x" ne "y"} {set a 2} else {set a 3}', "2"),
    ("set a 7\nif {$a > 8 || $a == 7.0} {set b in} else {set b out}", "in"),
    ("set a {}\nif {$a ne {}} {set b 1} else {set b 2}", "2"),
    ("if {[llength {a b}] != 2} {set a 1} else {set a 2}", "2"),
    ("# a comment \\\nthat goes on\nset a 1 ;# another", "1"),
    ("set a [set b [set c 5]]", "5"),
    ('set a "one \\\n    two"', "one  two"),
    ('set a "\\[x\\] \\$y \\"z\\""', '[x] $y "z"'),
    ("set a nand_0_dq[list]\\[3\\]", "nand_0_dq[3]"),
    ("set a {[no] $substitution}", "[no] $substitution"),
    ("if {[string is double -strict 6.7e1]} {set a 1} else {set a 2}", "1"),
    ("if {[string is double -strict 6x]} {set a 1} else {set a 2}", "2"),
    ("string is double -strict {}", "0"),
    ("file dirname /a/b/c.tcl", "/a/b"),
    ("file join /a b c/d.v", "/a/b/c/d.v"),
    ("file normalize /a/b", "/a/b"),
    (
        "note -dict [list CONFIG.A {1} CONFIG.B {LPDDR 4}] cell",
        "-dict|CONFIG.A 1 CONFIG.B {LPDDR 4}|cell",
    ),
]

WRONG = [
    ("set a $b", "no such variable"),
    ("no_such_command", "invalid command name"),
    ("set a {", "missing close-brace"),
    ("set a [list", "missing close-bracket"),
    ("error {it is wrong}", "it is wrong"),
    ('set a "b', 'missing "'),
    ("set a {b}c", "extra characters"),
    ("if {1 2} {}", "."),
]


def interpreter(kind):
    if kind == "tcl":
        made = Tcl()
    else:
        made = pytest.importorskip("tkinter", reason="this Python was built without Tcl").Tcl()
    made.createcommand("note", lambda *arguments: "|".join(map(str, arguments)))
    return made


@pytest.mark.parametrize("kind", ["tcl", "tkinter"])
@pytest.mark.parametrize("script, result", SCRIPTS)
def test_results(kind, script, result):
    assert str(interpreter(kind).eval(script)) == result


@pytest.mark.parametrize("kind", ["tcl", "tkinter"])
@pytest.mark.parametrize("script, said", WRONG)
def test_what_is_wrong(kind, script, said):
    made = interpreter(kind)
    error = TclError if kind == "tcl" else pytest.importorskip("tkinter").TclError
    with pytest.raises(error, match=said):
        made.eval(script)


@pytest.mark.parametrize("kind", ["tcl", "tkinter"])
def test_scripts_know_where_they_are(kind, tmp_path):
    (tmp_path / "inner.tcl").write_text("set inner [file dirname [info script]]/$given\n")
    (tmp_path / "outer.tcl").write_text(
        "set outer [file normalize [info script]]\n"
        "source [file join [file dirname $outer] inner.tcl]\n"
        "set again [info script]\n"
    )
    made = interpreter(kind)
    made.setvar("given", "x")
    made.eval(f"source {{{tmp_path / 'outer.tcl'}}}")
    assert made.eval("set inner") == f"{tmp_path}/x"
    assert made.eval("set again") == made.eval("set outer") == str(tmp_path / "outer.tcl")
    made.setvar("argv", ("a b", "c"))
    assert made.splitlist(made.eval("list $argv [lindex $argv 0]"))[1] == "a b"
    made.eval(f"file mkdir {{{tmp_path}/new/one}}")
    made.eval(f"file copy -force {{{tmp_path}/inner.tcl}} {{{tmp_path}/new/one}}")
    assert (tmp_path / "new/one/inner.tcl").is_file()
