import { deepStrictEqual as deepEqual, rejects, strictEqual as equal } from "node:assert/strict";
import { ask, readBackEnd } from "../../plugins/back_end.ts";

Deno.test("back end: an address is a host and a port, or a Unix socket's absolute path", () => {
  deepEqual(readBackEnd("127.0.0.1:783"), { hostname: "127.0.0.1", port: 783 });
  deepEqual(readBackEnd("scanner.example.org:1"), { hostname: "scanner.example.org", port: 1 });
  deepEqual(readBackEnd("[::1]:65535"), { hostname: "::1", port: 65_535 });
  deepEqual(readBackEnd("/run/clamav/clamd.ctl"), { path: "/run/clamav/clamd.ctl" });
  for (
    const bad of [
      "",
      "host",
      "host:",
      ":1",
      "host:0",
      "host:65536",
      "::1:5",
      "[host]:5",
      "a b:1",
      "./x",
      "/a\0",
    ]
  ) {
    equal(readBackEnd(bad), undefined, bad);
  }
});

/** A listener that does this with its one connection. */
function listening(serve: (conn: Deno.Conn) => Promise<void>) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const served = listener.accept().then(async (conn) => {
    try {
      await serve(conn);
    } finally {
      conn.close();
    }
  });
  return {
    address: `127.0.0.1:${listener.addr.port}`,
    async [Symbol.asyncDispose]() {
      listener.close();
      await served;
    },
  };
}

const utf8 = new TextEncoder();
async function* pieces(...texts: string[]) {
  for (const text of texts) yield await Promise.resolve(utf8.encode(text));
}
const asking = (address: string, signal = new AbortController().signal) => (
  { name: "scanner", address, signal, most: 64 }
);

Deno.test("back end: all is said, and what is said until it closes is the answer", async () => {
  let heard = "";
  await using server = listening(async (conn) => {
    const octets = new Uint8Array(16);
    while (!heard.endsWith(".")) {
      heard += new TextDecoder().decode(octets.subarray(0, (await conn.read(octets))!));
    }
    await conn.write(utf8.encode("in "));
    await conn.write(utf8.encode("two"));
  });
  equal(await ask(asking(server.address), pieces("one ", "question.")), "in two");
  equal(heard, "one question.");
});

Deno.test("back end: one that isn't there, says nothing or too much is an error that says which", async () => {
  const closed = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const nobody = `127.0.0.1:${closed.addr.port}`;
  closed.close();
  await rejects(
    ask(asking(nobody), pieces("x")),
    /^Error: scanner can't be reached at 127\.0\.0\.1:[0-9]+: .*refused/,
  );
  await rejects(
    ask(asking("/nonexistent/socket"), pieces("x")),
    /scanner can't be reached at \/nonexistent\/socket/,
  );
  const read = async (conn: Deno.Conn) => void await conn.read(new Uint8Array(16));
  {
    await using silent = listening(read);
    await rejects(
      ask(asking(silent.address), pieces("x")),
      /scanner at .* does not answer: it has closed the connection/,
    );
  }
  await using endless = listening(async (conn) => {
    await read(conn);
    await conn.write(new Uint8Array(65));
  });
  await rejects(ask(asking(endless.address), pieces("x")), /more than 64 octets came/);
});

Deno.test("back end: one that hangs is left when time is up", async () => {
  const late = new AbortController();
  await using hanging = listening(async (conn) => {
    await conn.read(new Uint8Array(16));
    late.abort(new Error("no answer in time"));
    equal(await conn.read(new Uint8Array(16)), null, "it hangs up");
  });
  await rejects(ask(asking(hanging.address, late.signal), pieces("x")), /no answer in time/);
});

Deno.test("back end: a message that can't be read ends it, with its own reason", async () => {
  await using server = listening(async (conn) => {
    while (await conn.read(new Uint8Array(16)) !== null);
  });
  async function* broken() {
    yield await Promise.resolve(utf8.encode("x"));
    throw new Error("the disk is gone");
  }
  await rejects(ask(asking(server.address), broken()), /the disk is gone/);
});
