#!/usr/bin/env python3
"""`mimo chat` as its user sees it: at a terminal of its own, and in a pipe, with a server of the bundled
model behind it. argv: folder of the programs, the source tree, and names of tests, if not all."""

import json
import os
import pathlib
import pty
import re
import select
import signal
import stat
import subprocess
import sys
import tempfile
import termios
import time
import unittest

BIN, SOURCE = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
sys.path.insert(0, str(SOURCE / "tests"))
from served import Served  # noqa: E402

UP, ALT_ENTER = "\033[A", "\033\r"
TOOLS = [{"type": "function", "function": {
    "name": name, "description": said, "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
    for name, said in (("get_weather", "Get the weather of a city"),
                       ("get_time", "Get the local time of a city"))]


class Terminal:
    """A program at a terminal: what is typed to it, and what it shows."""

    def __init__(self, *words, **environment):
        self.shown = ""  # all of it
        self._seen = 0   # how much of that expect() has looked through
        self._pid, self._file = pty.fork()
        if self._pid == 0:
            os.environ.update(TERM="xterm", LANG="C.UTF-8", **environment)
            os.execv(words[0], [str(word) for word in words])
        self.status = None
        self.modes = termios.tcgetattr(self._file)

    def type(self, text):
        os.write(self._file, text.encode())

    def expect(self, text, timeout=30):
        """Waits until `text` comes behind what was expected before; answers what came before it."""
        deadline = time.monotonic() + timeout
        while (at := self.shown.find(text, self._seen)) < 0:
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"{text!r} did not come; shown since the last that did: "
                                     f"{self.shown[self._seen:]!r}")
        before = self.shown[self._seen:at]
        self._seen = at + len(text)
        return before

    def _read(self, timeout):
        if not select.select([self._file], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self._file, 1 << 16)
        except OSError:  # nobody is at the other end
            return False
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)

    def end(self):
        """Waits for the program's end; answers its exit status."""
        while self._read(30):
            pass
        self.status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self.status

    def close(self):
        if self.status is None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self._file)


def plain(text):
    return re.sub(r"\033\[[?0-9;]*[a-zA-Z]", "", text)


class ChatTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.served = Served(BIN, SOURCE, "--tp", 1)
        cls.server = cls.served.ready["listen"]

    @classmethod
    def tearDownClass(cls):
        cls.served.stop()

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home = pathlib.Path(folder.name)

    def chat(self, *words, **environment):
        terminal = Terminal(BIN / "mimo", "chat", "--server", self.server, *words,
                            HOME=str(self.home), **environment)
        self.addCleanup(terminal.close)
        terminal.expect("leaves")
        return terminal

    def piped(self, lines, *words):
        return subprocess.run([BIN / "mimo", "chat", "--server", self.server, *map(str, words)],
                              input=lines, capture_output=True, text=True, timeout=60,
                              env={**os.environ, "HOME": str(self.home)})

    def tools(self):
        path = self.home / "tools.json"
        path.write_text(json.dumps(TOOLS))
        return path


class AtATerminal(ChatTest):
    def test_answers_turn_by_turn_and_leaves_at_ctrl_d(self):
        terminal = self.chat("--temperature", 0)
        terminal.type("What is the capital of Norway?\r")
        terminal.expect("The capital of Norway is Oslo.\n")
        terminal.expect("tokens/s")
        terminal.type("What is 27 + 15?\r")
        terminal.expect("27 + 15 = 42.\n")
        terminal.type("\004")
        self.assertEqual(terminal.end(), 0)

    def test_thinking_is_dimmed_and_apart_from_the_answer(self):
        terminal = self.chat("--temperature", 1, "--seed", 5)
        terminal.type("/think on\r")
        terminal.expect("Thinking is on.")
        terminal.type("What is 27 + 15?\r")
        terminal.expect("\033[2m27 + 15: the result is 42.\033[0m\n\n27 + 15 = 42.\n")

    def test_no_color_means_no_styles(self):
        terminal = self.chat("--temperature", 1, "--seed", 5, "--think", "on", NO_COLOR="1")
        terminal.type("What is 27 + 15?\r")
        terminal.expect("27 + 15: the result is 42.\n\n27 + 15 = 42.\n")
        terminal.type("/exit\r")
        self.assertEqual(terminal.end(), 0)
        self.assertNotRegex(terminal.shown, r"\033\[[0-9;]*m")

    def test_ctrl_c_stops_the_answer_and_not_the_program(self):
        terminal = self.chat("--temperature", 0, "--ignore-eos", "--max-tokens", 3500)
        for _ in range(2):
            terminal.type("Tell me a story about a fox and a lantern.\r")
            terminal.expect("lonely fox")
            began = time.monotonic()
            terminal.type("\003")
            terminal.expect("stopped")
            self.assertLess(time.monotonic() - began, 5)
            terminal.type("/reset\r")  # the next answer does not depend on how far this one came
        terminal.type("/help\r")
        terminal.expect("/temperature NUMBER")
        terminal.type("half a line\003")
        terminal.type("/exit\r")
        self.assertEqual(terminal.end(), 0)

    def test_a_call_is_shown_and_its_result_asked_for(self):
        terminal = self.chat("--temperature", 0, "--tools", self.tools())
        terminal.type("What is the weather in Paris?\r")
        terminal.expect("-> get_weather ")
        arguments = plain(terminal.expect("\n"))
        self.assertEqual(json.loads(arguments), {"city": "Paris"})
        terminal.expect("get_weather gives>")
        terminal.type('{"city": "Paris", "temperature": 21, "sky": "clear"}\r')
        terminal.expect("In Paris it is 21 degrees and the sky is clear.\n")

    def test_a_pasted_text_is_one_message_and_so_are_lines_of_one(self):
        terminal = self.chat()
        # Before the terminal is the editor's, it makes line breaks of returns.
        terminal.expect("\033[?2004h")
        terminal.expect(">")
        terminal.type("\033[200~/system one\r\ntwo ü\rthree\n\033[201~\r")
        terminal.expect("is set.")
        terminal.type("/system\r")
        terminal.expect("one\ntwo ü\nthree")
        terminal.type("/system a" + ALT_ENTER + "b\\\rc\r")
        terminal.expect("is set.")
        terminal.type("/system\r")
        terminal.expect("a\nb\nc")

    def test_history_comes_back_and_is_its_users_alone(self):
        terminal = self.chat("--temperature", 0)
        terminal.type("What is 27 + 15?\r")
        terminal.expect("= 42.")
        terminal.type("\004")
        self.assertEqual(terminal.end(), 0)
        kept = self.home / ".mimo_history"
        self.assertEqual(stat.S_IMODE(kept.stat().st_mode), 0o600)

        terminal = self.chat("--temperature", 0)
        terminal.expect(">")
        terminal.type(UP + "\r")
        terminal.expect("27 + 15 = 42.")

    def test_the_terminal_is_left_as_it_was(self):
        terminal = self.chat()
        terminal.expect(">")
        terminal.type("/exit\r")
        terminal.expect("\033[?2004l")
        self.assertEqual(terminal.end(), 0)
        # A new program finds the modes that the first one found.
        self.assertEqual(termios.tcgetattr(terminal._file)[:4], terminal.modes[:4])

    def test_errors_are_shown_and_the_chat_goes_on(self):
        terminal = self.chat("--temperature", 0)
        terminal.type("/temperature hot\r")
        terminal.expect("expected a number from 0 to 100")
        terminal.type("/fly\r")
        terminal.expect("/help lists them")
        terminal.expect(">")
        terminal.type("\033[200~" + "many words " * 3000 + "\033[201~\r")
        terminal.expect("mimo: INVALID_ARGUMENT", timeout=60)
        terminal.type("/reset\r")
        terminal.expect("Nothing was said")
        terminal.type("What is 27 + 15?\r")
        terminal.expect("27 + 15 = 42.")


class InAPipe(ChatTest):
    def test_a_message_a_line_gives_the_bare_answers(self):
        done = self.piped("What is the capital of Norway?\n\n/reset\nWhat is 27 + 15?\n",
                          "--temperature", 0)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, "The capital of Norway is Oslo.\n27 + 15 = 42.\n")
        self.assertEqual(done.stderr, "")
        self.assertFalse((self.home / ".mimo_history").exists())

    def test_reasoning_is_shown_when_asked_for(self):
        words = ("--temperature", 1, "--seed", 5, "--think", "on")
        bare = self.piped("What is 27 + 15?", *words)
        self.assertEqual(bare.stdout, "27 + 15 = 42.\n", bare.stderr)
        shown = self.piped("What is 27 + 15?", *words, "--show-reasoning", "on")
        self.assertEqual(shown.stdout, "27 + 15: the result is 42.\n\n27 + 15 = 42.\n")

    def test_a_call_takes_the_next_line_as_its_result(self):
        done = self.piped('What is the weather in Paris?\n'
                          '{"city": "Paris", "temperature": 21, "sky": "clear"}\n',
                          "--temperature", 0, "--tools", self.tools())
        self.assertEqual(done.returncode, 0, done.stderr)
        call, answer = done.stdout.splitlines()
        self.assertEqual(json.loads(call.removeprefix("-> get_weather ")), {"city": "Paris"})
        self.assertEqual(answer, "In Paris it is 21 degrees and the sky is clear.")

    def test_the_first_failure_ends_it(self):
        for lines, words, said in (("/fly\nHello!\n", (), "/fly"),
                                   ("Hello!\n", ("--top-p", 1.5), "INVALID_ARGUMENT"),
                                   ("Hello!\n", ("--tools", SOURCE / "README.md"), "JSON array")):
            done = self.piped(lines, *words)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn(said, done.stderr)
            self.assertEqual(done.stdout, "")

    def test_a_server_that_is_not_there_is_an_error(self):
        done = subprocess.run([BIN / "mimo", "chat", "--server", "127.0.0.1:1"], input="Hello!\n",
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("UNAVAILABLE", done.stderr)


del ChatTest  # its tests are those of the classes above

if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
