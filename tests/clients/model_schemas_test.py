#!/usr/bin/env python3
"""Texts that the bundled model draws at temperature 1.5 under 500 random schemas, through the HTTP door and
by way of its workers' masks: each parses and is what its schema says. Exit status 77 where the client or the
validator is not installed. argv: folder of the programs, the source tree, and optionally how many schemas."""

import asyncio
import collections
import os
import pathlib
import random
import sys
import time
import unittest

BIN, SOURCE = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
NUM_SCHEMAS = int(sys.argv[3]) if len(sys.argv) > 3 else 500
sys.path += [str(SOURCE / "tests"), str(SOURCE / "tests/grammar")]
from served import Served, skip  # noqa: E402

try:
    import jsonschema  # noqa: F401: schemas_test's
    import openai
except ImportError as missing:
    skip(missing)
import random_schemas  # noqa: E402
import schemas_test  # noqa: E402

CONCURRENCY, TOKENS_MAX = 32, 400
CLOSERS = ['"', "@", ".", "}", "]", "<|im_end|>"]
# A text without a bound in its schema may run on: then its ends are made likelier.
BIASES = (0, 6, 15, 40)


class ModelSchemas(unittest.TestCase):
    def test_every_text_is_what_its_schema_says(self):
        seed = int(os.environ.get("MIMO_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
        print(f"MIMO_TEST_SEED={seed}", flush=True)
        rng = random.Random(seed)
        schemas = [random_schemas.random_schema(rng) for _ in range(NUM_SCHEMAS)]
        served = Served(BIN, SOURCE, "--tp", 1)
        begin = time.monotonic()
        self.biased = collections.Counter()
        try:
            replies = asyncio.run(self.ask_all(served.ready["http_listen"], schemas, seed))
        finally:
            served.stop()
        print(f"asked with a bias of {dict(self.biased)} in {time.monotonic() - begin:.1f} s")
        formats = schemas_test.checker()
        for schema, (reason, text) in zip(schemas, replies):
            shown = {"texts": [text.encode().hex()]}
            self.assertEqual((reason, list(schemas_test.findings(schema, shown, formats))),
                             ("stop", []), f"{schema}: {text}")

    async def ask_all(self, address, schemas, seed):
        gate = asyncio.Semaphore(CONCURRENCY)
        async with openai.AsyncOpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=0,
                                      timeout=240) as client:
            told = [await client.post("/../tokenize", body={"prompt": text}, cast_to=object)
                    for text in CLOSERS]
            ends = [answer["tokens"][0] for answer in told]

            async def ask(i, schema):
                for bias in BIASES:
                    async with gate:
                        reply = await client.chat.completions.create(
                            model="tiny", temperature=1.5, seed=seed + i, max_tokens=TOKENS_MAX,
                            logit_bias={str(token): bias for token in ends},
                            messages=[{"role": "user", "content": "Write a JSON object for Iris."}],
                            response_format={"type": "json_schema",
                                             "json_schema": {"name": "drawn", "schema": schema}})
                    choice = reply.choices[0]
                    self.biased[bias] += 1
                    if choice.finish_reason != "length":
                        break
                return choice.finish_reason, choice.message.content

            return await asyncio.gather(*(ask(i, schema) for i, schema in enumerate(schemas)))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
