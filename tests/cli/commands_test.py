#!/usr/bin/env python3
"""The command line as a user runs it: one server of the bundled model, every client command against it,
bad input, and a stop that ends everything. argv: folder of the programs, the source tree."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import unittest
import urllib.request

BIN, SOURCE = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
MIMO, TINY = str(BIN / "mimo"), SOURCE / "models/tiny"
CASES = json.loads((TINY / "expected.json").read_text())["cases"]


def mimo(*words, stdin=None, timeout=60):
    return subprocess.run([MIMO, *map(str, words)], input=stdin, text=True, capture_output=True,
                          timeout=timeout)


class WithoutServer(unittest.TestCase):
    def test_tokenize_answers_a_line_for_each_line(self):
        texts = ["Hello, world!", "", "naïve \U0001F98A\n"]
        lines = "".join(json.dumps({"text": t}) + "\n" for t in texts)
        done = mimo("tokenize", "--tokenizer", TINY / "tokenizer.json", "--jsonl", "-", stdin=lines)
        self.assertEqual(done.returncode, 0, done.stderr)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([a["decoded"] for a in answers], texts)
        self.assertEqual(answers[1]["ids"], [])

    def test_tokenize_names_the_bad_line(self):
        done = mimo("tokenize", "--tokenizer", TINY / "tokenizer.json", "--jsonl", "-",
                    stdin='{"text": "a"}\n{"txt": "b"}\n')
        self.assertEqual(done.returncode, 1)
        self.assertIn("standard input:2", done.stderr)

    def test_tokenize_fails_on_what_cannot_be_read(self):
        done = mimo("tokenize", "--tokenizer", TINY / "tokenizer.json", "--jsonl", TINY)
        self.assertEqual(done.returncode, 1)
        self.assertIn(str(TINY), done.stderr)

    def test_an_answer_that_cannot_be_written_is_no_success(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([MIMO, "plan", "--tp", "4"], stdout=full, stderr=subprocess.PIPE,
                                  text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("standard output", done.stderr)

    def test_plan_refuses_a_context_of_nothing(self):
        done = mimo("plan", "--context", 0)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--context", done.stderr)

    def test_plan_knows_the_released_model(self):
        done = mimo("plan", "--tp", 4, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        plan = json.loads(done.stdout)
        full, window = plan["kv"]["full"], plan["kv"]["window"]
        self.assertEqual(full["k_bytes_per_token"] + full["v_bytes_per_token"], 5760)
        self.assertEqual(window["k_bytes_per_token"] + window["v_bytes_per_token"], 49920)
        self.assertEqual(len(plan["ranks"]), 4)

    def test_plan_takes_a_path_that_is_not_utf8(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.fsencode(folder) + b"/m\xff"
            os.symlink(TINY, path)
            done = subprocess.run([MIMO, "plan", "--json", "--tp", "1", "--model", path],
                                  capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(json.loads(done.stdout)["model"].endswith("m\ufffd"))

    def test_plan_refuses_heads_that_do_not_fit(self):
        done = mimo("plan", "--tp", 3)
        self.assertEqual(done.returncode, 1)
        self.assertIn("64", done.stderr)
        self.assertIn("3", done.stderr)

    def test_plan_says_where_experts_are_placed_whole(self):
        done = mimo("plan", "--model", TINY, "--tp", 2)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("experts whole", done.stdout)
        self.assertIn("128", done.stdout)

    def test_unknown_flags_end_with_2(self):
        self.assertEqual(mimo("serve", "--modle", "x").returncode, 2)
        self.assertEqual(mimo("fly").returncode, 2)

    def test_a_server_that_is_not_there_is_an_error(self):
        done = mimo("generate", "--server", "127.0.0.1:1", "-p", "x", "--timeout", 5)
        self.assertEqual(done.returncode, 1)
        self.assertIn("UNAVAILABLE", done.stderr)

    def test_verify_fails_on_a_wrong_record(self):
        with tempfile.TemporaryDirectory() as folder:
            golden = SOURCE / "tests/golden/bf16-small-window"
            for file in golden.iterdir():
                (pathlib.Path(folder) / file.name).symlink_to(file)
            record = json.loads((golden / "expected.json").read_text())
            record["cases"] = record["cases"][:1]
            record["cases"][0]["greedy"][3] ^= 1
            (pathlib.Path(folder) / "expected.json").unlink()
            (pathlib.Path(folder) / "expected.json").write_text(json.dumps(record))
            done = mimo("verify", "--model", folder, timeout=120)
        self.assertEqual(done.returncode, 1, done.stderr)
        line = json.loads(done.stdout)
        self.assertFalse(line["ok"])
        self.assertEqual(line["greedy_mismatches"], 1)

    def test_serve_says_why_a_model_cannot_be_served(self):
        done = mimo("serve", "--model", "/no/such/folder", "--listen", "127.0.0.1:0",
                    "--http-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/no/such/folder", done.stderr)

    def test_verify_takes_any_chunk(self):
        golden = SOURCE / "tests/golden/bf16-small-window"
        done = mimo("verify", "--model", golden, "--chunk", 100000, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(json.loads(done.stdout)["ok"])

    def test_verify_says_where_its_logs_cannot_be(self):
        done = mimo("verify", "--model", TINY, "--log-folder", TINY / "config.json" / "logs")
        self.assertEqual(done.returncode, 1)
        self.assertIn("--log-folder", done.stderr)


class WithServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        ready = pathlib.Path(cls.folder.name) / "ready.json"
        cls.server = subprocess.Popen(
            [MIMO, "serve", "--config", str(SOURCE / "deploy/mimo.toml"), "--model", str(TINY),
             "--tp", "2", "--listen", "127.0.0.1:0",
             "--http-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--log-folder", cls.folder.name,
             "--ready-file", str(ready)], stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not ready.exists():
            if cls.server.poll() is not None or time.monotonic() > deadline:
                cls.server.kill()
                raise RuntimeError("the server did not start: " + cls.server.communicate()[1])
            time.sleep(0.05)
        cls.ready = json.loads(ready.read_text())
        cls.address = cls.ready["listen"]

    @classmethod
    def tearDownClass(cls):
        cls.server.send_signal(signal.SIGTERM)
        code = cls.server.wait(timeout=60)
        pids = [w["pid"] for w in cls.ready["workers"]]
        alive = [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
        cls.server.stderr.close()
        cls.folder.cleanup()
        if code != 0 or alive:
            raise RuntimeError(f"the server ended with {code}, workers alive: {alive}")

    def generate(self, *words, stdin=None):
        return mimo("generate", "--server", self.address, *words, stdin=stdin)

    def test_greedy_text_is_the_recorded_one(self):
        for case in CASES[:3]:
            done = self.generate("--temperature", 0, stdin=case["text"])
            self.assertEqual(done.returncode, 0, done.stderr)
            want = case["greedy_text"].removesuffix("<|im_end|>")
            self.assertEqual(done.stdout, want + "\n")

    def test_json_events_end_with_finished_and_usage(self):
        done = self.generate("--temperature", 0, "--json", "-p", CASES[0]["text"])
        events = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertIn("finished", events[-1])
        self.assertEqual(events[-1]["usage"]["prompt_tokens"], len(CASES[0]["prompt"]))
        self.assertEqual(events[-1]["usage"]["completion_tokens"], len(CASES[0]["greedy"]))

    def test_a_seed_replays_and_n_outputs_differ(self):
        words = ("--temperature", 1.5, "--seed", 7, "-n", 3, "--max-tokens", 24, "-p", "Call me")
        once, again = self.generate(*words), self.generate(*words)
        self.assertEqual(once.returncode, 0, once.stderr)
        outputs = sorted(once.stdout.splitlines())
        self.assertEqual(outputs, sorted(again.stdout.splitlines()))
        self.assertIn("[2]", once.stdout)

    def test_stop_text_ends_the_output_before_it(self):
        done = self.generate("--temperature", 0, "--stop", "Norway", "-p", CASES[0]["text"])
        self.assertEqual(done.stdout, "The capital of \n")

    def test_bad_input_is_refused_with_its_name(self):
        for words, said in ((("--top-p", 1.5), "top_p"), (("--max-tokens", 0), "max_tokens"),
                            (("--temperature", -1), "temperature")):
            done = self.generate(*words, "-p", "x")
            self.assertEqual(done.returncode, 1)
            self.assertIn("INVALID_ARGUMENT", done.stderr)
            self.assertIn(said, done.stderr)

    def test_bench_counts_every_token(self):
        done = mimo("bench", "--server", self.address, "-n", 12, "-c", 4, "--input-tokens", 20,
                    "--output-tokens", 10, "--json", timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(report["requests_ok"], 12)
        self.assertEqual(report["output_tokens"], 120)
        self.assertEqual(report["prompt_tokens"], 240)
        self.assertGreater(report["ttft_ms"]["p50"], 0)
        self.assertLessEqual(report["ttft_ms"]["p50"], report["ttft_ms"]["p99"])

    def test_open_loop_bench_runs(self):
        done = mimo("bench", "--server", self.address, "-n", 8, "--rate", 40, "--input-tokens", 8,
                    "--output-tokens", 4, "--json", timeout=120)
        self.assertEqual(json.loads(done.stdout)["requests_ok"], 8, done.stderr)

    def test_the_shipped_configuration_has_every_key(self):
        log = (pathlib.Path(self.folder.name) / "coordinator.log").read_text()
        known = set(re.findall(r"event=config ([a-z_.]+)=", log))
        shipped = tomllib.loads((SOURCE / "deploy/mimo.toml").read_text())
        keys = {key for key, value in shipped.items() if not isinstance(value, dict)}
        keys |= {f"{table}.{key}" for table, value in shipped.items() if isinstance(value, dict)
                 for key in value}
        self.assertEqual(keys, known)

    def test_the_shipped_scrape_configuration_is_valid(self):
        done = subprocess.run(["promtool", "check", "config", str(SOURCE / "deploy/prometheus.yml")],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_metrics_pass_promtool(self):
        places = [self.ready["metrics_listen"]] + [w["metrics"] for w in self.ready["workers"]]
        for place in places:
            text = urllib.request.urlopen(f"http://{place}/metrics", timeout=10).read()
            done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
            said = (done.stdout + done.stderr).decode().splitlines()
            # vLLM's names, which promtool does not like, are what routers look for; 3: only a dislike.
            self.assertEqual([line for line in said if not line.startswith("vllm:")], [])
            self.assertIn(done.returncode, (0, 3), said)
        self.assertIn(b"mimo_kv_bytes{", text)
        self.assertIn(b"mimo_device_bytes{", text)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
