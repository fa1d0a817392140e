#!/usr/bin/env python3
"""The console in a headless Chromium, with a server of the bundled model behind it. Exit status 77 where
there is no browser. argv: folder of the programs, the source tree, and optionally a folder for screenshots
and names of tests, if not all."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import urllib.request

import browser

BIN, SOURCE = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
KEPT = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else None
sys.path.insert(0, str(SOURCE / "tests"))
from served import Served  # noqa: E402

TOOLS = json.dumps([{"type": "function", "function": {
    "name": name, "description": said, "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
    for name, said in (("get_weather", "Get the weather of a city"),
                       ("get_time", "Get the local time of a city"))])
ANSWERED = "document.querySelectorAll('.message.assistant .foot').length === {}"
LAST = "[...document.querySelectorAll('.message.assistant')].pop()"


class Console(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.served = Served(BIN, SOURCE, "--tp", 2, "--http-listen", "127.0.0.1:0")
        cls.url = f"http://{cls.served.ready['http_listen']}/"
        cls.page = browser.Browser()

    @classmethod
    def tearDownClass(cls):
        cls.page.close()
        cls.served.stop()

    def setUp(self):
        self.page.open(self.url)
        self.page.problems = []
        self.page.wait("document.getElementById('state').textContent === 'ready'")

    def tearDown(self):
        self.assertEqual(self.page.problems, [])

    # The page's own requests, with `more` in each: what is drawn is then the same every time.
    def draw_with(self, **more):
        self.page.evaluate(f"""(() => {{
            window.more = {json.dumps(more)};
            if (window.realFetch) return;
            window.realFetch = window.fetch;
            window.fetch = (url, options) => realFetch(url, options?.body
              ? {{...options, body: JSON.stringify({{...JSON.parse(options.body), ...more}})}} : options);
          }})()""")

    def say(self, text, num_answers=1):
        self.page.click("#input")
        self.page.type(text)
        self.page.press("Enter")
        if num_answers:
            self.page.wait(ANSWERED.format(num_answers))

    def last(self, selector):
        return self.page.evaluate(f"{LAST}.querySelector('{selector}')?.textContent")

    def test_an_answer_streams_and_the_next_one_knows_of_it(self):
        self.draw_with(temperature=0, ignore_eos=True, max_completion_tokens=500)
        self.page.evaluate(f"""(() => {{
            window.lengths = new Set();
            new MutationObserver(() => lengths.add({LAST}?.querySelector('.body').textContent.length))
              .observe(document.getElementById('log'), {{subtree: true, childList: true, characterData: true}});
          }})()""")
        self.say("Tell me a story about a fox and a lantern.")
        case = next(c for c in json.loads((SOURCE / "models/tiny/expected.json").read_text())["cases"]
                    if "lantern.<|im_end|>" in c["text"])
        want = case["greedy_text"].removesuffix("<|im_end|>")
        self.assertTrue(self.last(".body").startswith(want[:300]), self.last(".body"))
        self.assertGreater(self.page.evaluate("lengths.size"), 3)
        self.assertRegex(self.last(".foot"), r"\d+ tokens.*first after \d+ ms.*tokens/s")
        self.draw_with(temperature=0)
        self.page.evaluate("messages[1].content = 'A story.'")
        self.say("What is the capital of Norway?", 2)
        self.assertEqual(self.last(".body"), "The capital of Norway is Oslo.")
        self.assertEqual(self.page.evaluate("messages.map((m) => m.role).join()"),
                         "user,assistant,user,assistant")

    def test_thinking_is_apart_and_folds_away(self):
        self.draw_with(temperature=1, seed=5)
        self.page.click("#think")
        self.say("What is 27 + 15?")
        self.assertEqual(self.last(".thought div"), "27 + 15: the result is 42.")
        self.assertEqual(self.last(".body"), "27 + 15 = 42.")
        self.assertIn("Thought for", self.last(".thought summary"))
        self.assertFalse(self.page.evaluate("document.querySelector('.thought').open"))

    def test_a_call_is_shown_and_takes_its_result(self):
        self.draw_with(temperature=0)
        self.page.click("#open-settings")
        self.page.click("#tools")
        self.page.type(TOOLS)
        self.say("What is the weather in Paris?")
        self.assertEqual(self.last(".call .name"), "get_weather")
        self.assertEqual(json.loads(self.last(".call pre")), {"city": "Paris"})
        self.page.type('{"city": "Paris", "temperature": 21, "sky": "clear"}')  # it has the focus
        self.page.press("Enter")
        self.page.wait(ANSWERED.format(2))
        self.assertEqual(self.last(".body"), "In Paris it is 21 degrees and the sky is clear.")

    def test_stop_keeps_what_was_said(self):
        self.draw_with(temperature=0, ignore_eos=True, max_completion_tokens=3500)
        self.say("Tell me a story about a fox and a lantern.", 0)
        self.page.wait(f"{LAST}?.querySelector('.body').textContent.length > 40")
        self.assertEqual(self.page.evaluate("document.getElementById('send').textContent"), "Stop")
        self.page.press("Escape")
        self.page.wait(ANSWERED.format(1))
        self.assertIn("stopped", self.last(".foot"))
        self.assertEqual(self.page.evaluate("messages.length"), 2)
        self.page.wait("latest.requests.running === 0")

    def test_a_refusal_is_shown_and_nothing_was_said(self):
        self.draw_with(temperature=-3)
        self.say("Hello!", 0)
        self.page.wait("document.querySelector('.fault')?.textContent.includes('temperature')")
        self.assertEqual(self.page.evaluate("messages.length"), 0)
        # The browser itself notes the refused request.
        self.page.problems = [p for p in self.page.problems if "400" not in p]

    def test_what_the_model_writes_is_never_markup(self):
        self.page.evaluate("""(() => {
            const answer = new Answer();
            answer.take({choices: [{delta: {content: '<img src=x onerror=alert(1)> **b** `<i>`\\n```\\n<script>\\n```'}}]});
            answer.end('');
          })()""")
        self.assertEqual(self.page.evaluate(f"{LAST}.querySelectorAll('img, i, script').length"), 0)
        self.assertIn("<img src=x onerror=alert(1)>", self.last(".body"))
        self.assertEqual(self.last(".body pre"), "<script>")

    def test_only_the_pages_own_script_runs_and_only_this_server_is_asked(self):
        with urllib.request.urlopen(self.url, timeout=10) as answer:
            policy = answer.headers["Content-Security-Policy"]
            text = answer.read().decode()
        nonce = re.search(r"script-src 'nonce-([0-9a-f]{32})'", policy).group(1)
        self.assertIn("default-src 'none'", policy)
        self.assertIn("connect-src 'self'", policy)
        self.assertIn("frame-ancestors 'none'", policy)
        self.assertNotIn("unsafe", policy)
        self.assertEqual(text.count(f'nonce="{nonce}"'), 2)
        self.assertEqual(re.findall(r"https?://(?!www\.w3\.org/2000/svg)[^\s\"')]+", text), [])
        self.page.evaluate("""(() => { const s = document.createElement('script');
            s.textContent = 'window.broken = true'; document.body.append(s); })()""")
        self.assertFalse(self.page.evaluate("window.broken === true"))
        self.page.problems = [p for p in self.page.problems if "Content Security Policy" not in p]

    def test_everything_that_is_filled_in_or_pressed_has_a_name(self):
        self.page.click("#open-settings")
        nodes = self.page.call("Accessibility.getFullAXTree")["nodes"]
        roles = {"button", "textbox", "switch", "slider", "spinbutton", "image", "log"}
        nameless = [n for n in nodes if n.get("role", {}).get("value") in roles
                    and not n.get("ignored") and not n.get("name", {}).get("value")]
        self.assertEqual(nameless, [])

    def test_charts_and_workers_show_the_server(self):
        load = subprocess.Popen(
            [BIN / "mimo", "bench", "--server", self.served.ready["listen"], "-n", "400", "--rate", "7",
             "--input-tokens", "96", "--output-tokens", "96", "--json"], stdout=subprocess.PIPE)
        try:
            self.page.wait("latest.requests.running > 0 && samples.length >= 8 &&"
                           " samples.filter((s) => s.values.generated > 0).length >= 3", timeout=60)
            self.look_at_charts()
            if KEPT:
                self.keep_screenshots()
        finally:
            load.kill()
            load.communicate()

    def look_at_charts(self):
        for card in ("generated", "read", "requests", "kv"):
            paths = self.page.wait(
                f"[...document.querySelectorAll('#{card} path')].map((p) => p.getAttribute('d'))"
                ".filter((d) => d && !d.includes('NaN'))")
            self.assertTrue(paths, card)
        self.assertGreater(self.page.evaluate(
            "document.querySelector('#kv path').getBBox().height"), 2)
        rows = self.page.evaluate("[...document.querySelectorAll('#kv tbody tr')]"
                                  ".map((r) => r.cells[0].textContent)")
        self.assertEqual(rows, ["full · K", "full · V", "window · K", "window · V"])
        shown = self.page.evaluate("[...document.querySelectorAll('#workers tbody tr')]"
                                   ".map((r) => r.textContent)")
        self.assertEqual(len(shown), 2)
        for text, worker in zip(shown, self.served.ready["workers"]):
            self.assertIn("serving", text)
            self.assertIn(f"pid {worker['pid']}", text)

    def keep_screenshots(self):
        self.draw_with(temperature=1, seed=5)
        self.page.click("#think")
        self.say("What is 27 + 15?")
        self.draw_with(temperature=0)
        self.page.click("#think")
        self.say("Tell me a story about a fox and a lantern.", 2)
        self.page.wait("samples[samples.length - 1].time - samples[0].time > 30 && latest.requests.running > 3",
                       timeout=90)
        self.page.evaluate("document.querySelector('.thought').open = true")
        for scheme in ("light", "dark"):
            self.page.scheme(scheme)
            self.page.screenshot(KEPT / f"console-{scheme}.png")


class Restart(unittest.TestCase):
    def test_a_server_that_is_away_is_said_to_be_and_comes_back(self):
        served = Served(BIN, SOURCE, "--tp", 1, "--http-listen", "127.0.0.1:0")
        address = served.ready["http_listen"]
        page = browser.Browser()
        self.addCleanup(page.close)
        page.open(f"http://{address}/")
        page.wait("document.getElementById('state').textContent === 'ready'")
        served.stop()
        page.wait("document.getElementById('state').textContent === 'unreachable'")
        served = Served(BIN, SOURCE, "--tp", 1, "--http-listen", address)
        self.addCleanup(served.stop)
        page.wait("document.getElementById('state').textContent === 'ready'")


if __name__ == "__main__":
    if browser.find() is None:
        print("none of these programs is here: " + ", ".join(browser.NAMES))
        sys.exit(77)
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2)
