/** Debian's rspamd judges, with rules of the test's own in place of the hundreds that come with it. */
import {
  deepStrictEqual as deepEqual,
  doesNotMatch,
  match,
  ok,
  strictEqual as equal,
} from "node:assert/strict";
import { type Spam, spam } from "../../server/facts.ts";
import { definePlugin } from "../../server/plugin.ts";
import { mailboxes, testServer } from "../../server/testing/mod.ts";
import { RawClient } from "./client.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { onlyMessage } from "./mailbox.ts";
import { end, freePort, untilListening } from "./ports.ts";
import { spawn } from "./programs.ts";
import { ServerProcess } from "./server.ts";
import { deliver, mailboxOf, maildir, writeSettings } from "./small_server.ts";

/** A rule for each word a test says in a subject, and one that tells what it was told. */
const rules = `
local function subject_has(task, word)
  return (task:get_subject() or ""):find(word, 1, true) ~= nil
end
for word, score in pairs({ greyish = 4.5, spammy = 7, spammier = 9 }) do
  rspamd_config:register_symbol({ name = "T_" .. word:upper(), score = score, callback = function(task)
    return subject_has(task, word)
  end })
end
for word, action in pairs({ later = "soft reject", ward = "quarantine", away = "discard" }) do
  rspamd_config:register_symbol({ name = "T_" .. word:upper(), type = "prefilter", callback = function(task)
    if subject_has(task, word) then task:set_pre_result(action, "Said by a rule") end
  end })
end
rspamd_config:register_symbol({ name = "T_TOLD", score = 0.5, callback = function(task)
  local from, rcpts = task:get_from("smtp"), {}
  for _, one in ipairs(task:get_recipients("smtp") or {}) do table.insert(rcpts, one.addr) end
  local told = { tostring(task:get_from_ip()), task:get_hostname() or "-", task:get_helo() or "-",
    from and from[1] and from[1].addr or "-", table.concat(rcpts, "+"), task:get_user() or "-",
    tostring(task:get_request_header("TLS-Version") or "-") }
  task:set_milter_reply({
    add_headers = { ["X-Told"] = table.concat(told, " ") },
    remove_headers = { ["X-Leak"] = 0, ["X-Some"] = 2 },
  })
  return true
end })
`;

function configuration(folder: Folder, port: number): string {
  return `
options {
  pidfile = "${folder.at("rspamd.pid")}";
  control_socket = "${folder.at("control.sock")}";
  cache_file = "${folder.at("cache")}";
  hs_cache_dir = "${folder.path}";
  tempdir = "${folder.path}";
  url_tld = "${folder.at("tld")}";
  filters = "";
  local_addrs = [];
  dns { nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; }
}
logging { type = "console"; level = "error"; }
actions {
  greylist = 4; add_header = 6; rewrite_subject = 8; reject = 15;
  quarantine { flags = ["no_threshold"]; } discard { flags = ["no_threshold"]; }
}
settings {
  lenient { id = "lenient"; apply { actions { greylist = null; "add header" = 100; "rewrite subject" = null; reject = 200; } } }
}
worker "normal" { bind_socket = "127.0.0.1:${port}"; bind_socket = "${
    folder.at("rspamd.sock")
  } mode=0666"; count = 1; }
modules { path = "/usr/share/rspamd/plugins/settings.lua"; }
lua = "${folder.at("rules.lua")}";
`;
}

interface Rspamd extends AsyncDisposable {
  readonly url: string;
  readonly socket: string;
}

async function startRspamd(folder: Folder): Promise<Rspamd> {
  const port = freePort();
  await Deno.writeTextFile(folder.at("rules.lua"), rules);
  await Deno.writeTextFile(folder.at("tld"), "org\nnet\n");
  await Deno.writeTextFile(folder.at("rspamd.conf"), configuration(folder, port));
  await Deno.chmod(folder.path, 0o777);
  const asNobody = Deno.uid() === 0 ? ["-u", "nobody", "-g", "nogroup"] : [];
  const child = spawn("/usr/bin/rspamd", ["-f", ...asNobody, "-c", folder.at("rspamd.conf")], {
    stdin: "null",
    stdout: "null",
    stderr: "null",
  });
  await untilListening(child, "rspamd", port);
  return {
    url: `http://127.0.0.1:${port}`,
    socket: folder.at("rspamd.sock"),
    [Symbol.asyncDispose]: () => end(child),
  };
}

/** Keeps what `rspamd` tells. */
function listener(into: Spam[]) {
  return definePlugin({
    name: "listener",
    setup(on, _options, host) {
      const of = host.needs(spam);
      on("data", (_session, _message, transaction) => {
        const told = of(transaction);
        if (told) into.push(told);
      });
    },
  });
}

const ward = definePlugin({
  name: "ward",
  setup(_on, _options, host) {
    host.transport("ward", () => Promise.resolve({ verdict: "delivered", text: "kept in the ward" }));
  },
});

const to = "alice@example.org";
const ip = "192.0.2.77";
const gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

Deno.test("rspamd: every action it can say is done, and its edits of the header", async () => {
  await using folder = await makeFolder();
  await using rspamd = await startRspamd(folder);
  const told: Spam[] = [];
  await using server = await testServer({
    plugins: [
      ward,
      ["rspamd", { url: rspamd.url, quarantine: "ward" }],
      listener(told),
      mailboxes(["example.org"]),
    ],
    dns: { [ip]: { PTR: ["mail.example.net"] }, "mail.example.net": { A: [ip] } },
  });
  const reply = async (subject: string, recipient: string | string[] = to) => {
    const sent = await server.send({
      to: recipient,
      ip,
      headers: { Subject: subject, From: "a@example.net" },
    });
    return `${sent.reply.code} ${sent.reply.status} ${sent.reply.text}`;
  };

  const headers = {
    "X-Spam": "No, forged",
    "X-Rspamd-Anything": "forged",
    "X-Leak": "inside",
    "X-Some": ["one", "two", "three"],
    Subject: "Hello",
  };
  equal(
    (await server.send({ to: [to, "bob@example.org"], ip, tls: "implicit", headers })).outcome,
    "accepted",
  );
  const { content } = server.delivered[0]!;
  match(
    content,
    /^X-Told: 192\.0\.2\.77 mail\.example\.net client\.example\.net sender@example\.net\s+alice@example\.org\+bob@example\.org - TLSv1\.3\r$/m,
  );
  match(content, /^X-Spam-Status: No, score=0\.50 required=15\.00 tests=T_TOLD\(0\.50\)\r$/m);
  match(content, /^X-Some: one\r\nX-Some: three\r$/m);
  doesNotMatch(content, /forged|X-Leak/);
  deepEqual(told[0], { score: 0.5, reasons: ["T_TOLD"] });

  match(await reply("spammy"), /^250 /);
  match(server.delivered.at(-1)!.content, /^X-Spam: Yes\r\nX-Spam-Status: Yes, score=7\.50/m);
  match(await reply("spammier"), /^250 /);
  match(server.delivered.at(-1)!.content, /^Subject: (?:\*\*\* SPAM \*\*\*|\[SPAM\]) spammier\r$/m);
  equal(await reply("later"), "451 4.7.1 Said by a rule");
  equal(await reply("away"), "550 5.7.1 Said by a rule");
  const before = server.delivered.length;
  match(await reply("ward"), /^250 /);
  equal(server.delivered.length, before, "it is in the ward");

  // Greylisted by a threshold, without rspamd's own module: the second try counts once the time has passed.
  match(await reply("greyish"), /^451 4\.7\.1 Greylisted/);
  match(await reply("greyish"), /^451 4\.7\.1 Greylisted/);
  await server.clock.advance("6m");
  match(await reply("greyish"), /^250 /);

  const refused = await server.send({ to, ip, text: `${gtube}\r\n` });
  equal(`${refused.reply.code} ${refused.reply.status}`, "550 5.7.1");
  // Who is refused has to be able to ask why.
  equal((await server.send({ to: "postmaster@example.org", ip, text: `${gtube}\r\n` })).outcome, "accepted");
});

Deno.test("rspamd: settings by recipient, over a Unix socket, and mail that is only marked", async () => {
  await using folder = await makeFolder();
  await using rspamd = await startRspamd(folder);
  const options = { socket: rspamd.socket, settingsFor: { "lenient.example": "lenient" }, enforce: false };
  await using server = await testServer({
    plugins: [["rspamd", options], mailboxes(["example.org", "lenient.example"])],
  });
  const marked = async (...recipients: string[]) => {
    await server.send({ to: recipients, headers: { Subject: "spammy", From: "a@example.net" } });
    return /^X-Spam: Yes\r$/m.test(server.delivered.at(-1)!.content);
  };
  ok(await marked(to));
  ok(!await marked("alice@lenient.example"));
  ok(await marked("alice@lenient.example", to), "they differ: rspamd's own");
  equal((await server.send({ to, text: `${gtube}\r\n` })).outcome, "accepted");
});

Deno.test("rspamd: in the server: GTUBE is refused, and an rspamd that is gone defers", async () => {
  await using folder = await makeFolder();
  const rspamd = await startRspamd(folder);
  const config = await writeSettings(folder, {
    plugins: [{ use: "rspamd", with: { url: rspamd.url } }, maildir],
  });
  try {
    await using server = await ServerProcess.start(config);
    await deliver(server.port(), "alice");
    const { content } = await onlyMessage(mailboxOf(folder, "alice"));
    match(content.toString(), /^X-Spam-Status: No, score=/m);

    using client = await RawClient.connect(server.port());
    await client.say("EHLO client.test");
    await client.envelope("bob@elsewhere.test", "alice@example.test");
    await client.say(`Subject: spam\r\n\r\n${gtube}\r\n.`, 550);
    await rspamd[Symbol.asyncDispose]();
    await client.envelope("bob@elsewhere.test", "alice@example.test");
    await client.say("Subject: later\r\n\r\nHello.\r\n.", 451);
    const { error } = await server.logged("plugin failed");
    match(String(error), /rspamd at http:\/\/127\.0\.0\.1:\d+ does not answer: /);
    await onlyMessage(mailboxOf(folder, "alice"));
  } finally {
    await rspamd[Symbol.asyncDispose]();
  }
});
