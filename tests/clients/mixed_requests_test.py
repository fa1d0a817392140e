#!/usr/bin/env python3
"""A thousand requests of all kinds at concurrency 64 against a server of the bundled model: none
lost, none mixed up, each equal to its lone run. Exit status 77 where the client is not
installed. argv: folder of the programs, the source tree."""

import asyncio
import json
import pathlib
import random
import sys
import time
import unittest

BIN, SOURCE = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
sys.path.insert(0, str(SOURCE / "tests"))
from served import Served, skip  # noqa: E402

try:
    import openai
except ImportError as missing:
    skip(missing)

MODEL, NUM_REQUESTS, CONCURRENCY = "tiny", 1000, 64
COUNTRIES = ["France", "Norway", "Japan", "Chile", "Kenya", "Italy", "Peru", "Egypt"]
WORDS = ["river", "lantern", "kernel", "bridge", "memory", "anchor", "walnut", "copper"]


def tool(name, argument):
    return {"type": "function", "function": {
        "name": name, "description": "Get the weather of a city",
        "parameters": {"type": "object", "properties": {argument: {"type": "string"}},
                       "required": [argument]}}}


def user(text):
    return [{"role": "user", "content": text}]


PERSON = {"type": "object", "additionalProperties": False, "required": ["name", "age"],
          "properties": {"name": {"enum": ["Anna", "Hugo", "Iris"]},
                         "age": {"type": "integer", "minimum": 0, "maximum": 120}}}


def kinds(n):
    """The n-th request of each kind: (door, options)."""
    country, word, seed = COUNTRIES[n % 8], WORDS[n % 8], 100 + n
    capital = user(f"What is the capital of {country}?")
    chat, text = "chat", "completions"
    return [
        (chat, {"messages": capital, "temperature": 0}),
        (chat, {"messages": capital, "temperature": 0, "stream": True}),
        (chat, {"messages": user(f"Spell the word {word}."), "temperature": 1.2, "seed": seed,
                "max_tokens": 24, "stream": True}),
        (chat, {"messages": user(f"How many letters are in the word {word}?"), "temperature": 0.7,
                "seed": seed, "max_tokens": 40,
                "extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}),
        (chat, {"messages": user(f"What is the weather in {country}?"), "temperature": 0,
                "max_tokens": 40, "tools": [tool("get_weather", "city")], "stream": n % 2 == 0}),
        (chat, {"messages": capital, "temperature": 1.0, "seed": seed, "max_tokens": 200,
                "tools": [tool("get_time", "city")], "tool_choice": "required"}),
        (chat, {"messages": user(f"Write a JSON object for {word}."), "temperature": 1.5,
                "seed": seed, "max_tokens": 100, "stream": n % 2 == 1,
                "response_format": {"type": "json_schema",
                                    "json_schema": {"name": "person", "schema": PERSON}}}),
        (chat, {"messages": capital, "temperature": 1.0, "seed": seed, "n": 3, "max_tokens": 12,
                "logprobs": True, "top_logprobs": 2}),
        (chat, {"messages": capital, "temperature": 0.5, "seed": seed, "stop": ["is", "!"],
                "presence_penalty": 0.5, "frequency_penalty": 0.3, "max_tokens": 16}),
        (text, {"prompt": f"Call me {word}.", "temperature": 0.8, "seed": seed, "max_tokens": 20,
                "stream": n % 2 == 0}),
        (text, {"prompt": [33 + n, 40, 50, 60 + n], "temperature": 0, "max_tokens": 8,
                "logprobs": 1}),
        (text, {"prompt": f"The {word}", "temperature": 1.0, "seed": seed, "max_tokens": 10,
                "logit_bias": {str(40 + n): -100, "50": 3}}),
    ]


def told(choice):
    """What must be equal: all that a choice says but a call's id."""
    said = choice.model_dump(exclude_none=True)
    for call in said.get("message", {}).get("tool_calls", []):
        call.pop("id")
    return json.dumps(said, sort_keys=True)


class Pieces:
    """A stream's choices put together again."""

    def __init__(self):
        self.content, self.reasoning, self.calls, self.reason = "", "", {}, None

    def add(self, choice):
        self.reason = choice.finish_reason or self.reason
        if hasattr(choice, "text"):
            self.content += choice.text or ""
            return
        self.content += choice.delta.content or ""
        self.reasoning += getattr(choice.delta, "reasoning_content", None) or ""
        for call in choice.delta.tool_calls or []:
            name, arguments = self.calls.get(call.index, ("", ""))
            self.calls[call.index] = (name + (call.function.name or ""),
                                      arguments + (call.function.arguments or ""))

    def told(self):
        return json.dumps([self.content, self.reasoning, sorted(self.calls.items()), self.reason])


async def ask(client, door, options):
    create = client.chat.completions.create if door == "chat" else client.completions.create
    reply = await create(model=MODEL, **options)
    if not options.get("stream"):
        return [told(c) for c in reply.choices] + [reply.usage.completion_tokens]
    pieces = {}
    async for chunk in reply:
        for choice in chunk.choices:
            pieces.setdefault(choice.index, Pieces()).add(choice)
    return [pieces[i].told() for i in sorted(pieces)]


async def run_all(client, requests, concurrency):
    gate = asyncio.Semaphore(concurrency)

    async def one(request):
        async with gate:
            return await ask(client, *request)

    return await asyncio.gather(*(one(r) for r in requests))


class MixedRequests(unittest.TestCase):
    def test_a_thousand_requests_of_all_kinds_equal_their_lone_runs(self):
        seed = time.time_ns() % 1_000_000
        print(f"seed {seed}")
        server = Served(BIN, SOURCE, "--tp", 2)
        try:
            asyncio.run(self.compare(server, seed))
        finally:
            server.stop()

    async def compare(self, server, seed):
        distinct = [request for n in range(8) for request in kinds(n)]
        order = [i % len(distinct) for i in range(NUM_REQUESTS)]
        random.Random(seed).shuffle(order)
        async with openai.AsyncOpenAI(base_url=f"http://{server.ready['http_listen']}/v1", api_key="none",
                                      max_retries=0, timeout=240) as client:
            lone = await run_all(client, distinct, 1)
            begin = time.monotonic()
            answers = await run_all(client, [distinct[i] for i in order], CONCURRENCY)
            print(f"{NUM_REQUESTS} requests in {time.monotonic() - begin:.1f} s")
        self.assertEqual(len(answers), NUM_REQUESTS)
        for i, answer in zip(order, answers):
            self.assertEqual(answer, lone[i], f"request {i}: {distinct[i]}")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
