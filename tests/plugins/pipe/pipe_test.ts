import {
  deepStrictEqual as deepEqual,
  match,
  notStrictEqual as notEqual,
  ok,
  rejects,
  strictEqual as equal,
} from "node:assert/strict";
import pipe from "../../../plugins/pipe/mod.ts";
import { address, call, message, setUp, target } from "../harness.ts";

/** Root lends its rights to nobody. */
const as = Deno.uid() === 0 ? { user: "nobody" } : {};

/** A transport that runs a shell script; its arguments are `$1`… */
async function script(text: string, args: readonly string[] = [], more: Record<string, unknown> = {}) {
  const rig = await setUp(pipe, {
    command: "/bin/sh",
    arguments: ["-c", text.replaceAll("{", "{{"), "sh", ...args],
    ...as,
    ...more,
  });
  return { rig, deliver: rig.transports.get("pipe")!.deliver };
}

const mail = message("Return-Path: <old@example.net>\r\nSubject: x\r\n\r\nHello\r\n.\r\n");
const to = target("Alice+tag@example.org");

Deno.test("pipe: the message is on standard input, two lines on top, an earlier Return-Path gone", async () => {
  const { deliver } = await script("cat; exit 77", [], { output: "64KiB" });
  deepEqual(await deliver(mail, [to], call()), {
    verdict: "reject",
    status: "5.7.0",
    text: "Return-Path: <sender@example.net> Delivered-To: Alice+tag@example.org Subject: x Hello .",
  });
});

Deno.test("pipe: lines end as asked for", async () => {
  for (const [lineEndings, count] of [["lf", 0], ["crlf", 6]] as const) {
    const { deliver } = await script("tr -cd '\\r' | wc -c", [], { lineEndings });
    deepEqual(await deliver(mail, [to], call()), { verdict: "delivered", text: String(count) });
  }
});

Deno.test("pipe: arguments arrive one for one, untouched by any shell", async () => {
  const { deliver } = await script('printf "<%s>" "$@"', ["{recipient}", "{user} {tag}", "$HOME", "*", ""]);
  const said = await deliver(mail, [target('"a  $(id)"@example.org')], call());
  deepEqual(said, { verdict: "delivered", text: '<"a $(id)"@example.org><a $(id) ><$HOME><*><>' });
});

Deno.test("pipe: the environment is clean", async () => {
  Deno.env.set("PIPE_TEST_SECRET", "x");
  const { deliver } = await script(
    "env | sort | cut -d= -f1 | grep -v -e '^PWD$' -e '^_$' -e OLDPWD -e SHLVL; :",
    [],
    {
      environment: { EXTENSION: "{tag}" },
    },
  );
  deepEqual(await deliver(mail, [to], call()), {
    verdict: "delivered",
    text: "EXTENSION HOME LOGNAME PATH SHELL USER",
  });
  const value = await script('printf %s "$EXTENSION"', [], { environment: { EXTENSION: "{tag}" } });
  deepEqual(await value.deliver(mail, [to], call()), { verdict: "delivered", text: "tag" });
});

Deno.test("pipe: a null sender has a name among the arguments", async () => {
  const { deliver } = await script('printf %s "$1"', ["{sender}"]);
  deepEqual(await deliver(mail, [target("a@example.org", "")], call()), {
    verdict: "delivered",
    text: "MAILER-DAEMON",
  });
});

Deno.test("pipe: who would become an option is refused, at RCPT and at delivery", async () => {
  const { rig, deliver } = await script('printf %s "$1"', ["{user}", "{sender}"], {
    domains: ["example.org"],
  });
  const said = await rig.handlers.resolve!(address("-d@example.org"), call());
  deepEqual(said && said.verdict, "reject");
  const later = await deliver(mail, [target("-d@example.org")], call());
  equal((later as { status: string }).status, "5.1.3");
  const sender = await deliver(mail, [target("a@example.org", "-bs@example.net")], call());
  equal((sender as { status: string }).status, "5.1.7");
});

Deno.test("pipe: a command that reads nothing is judged by its exit code", async () => {
  const { deliver } = await script("exit 0");
  const large = message(`Subject: x\r\n\r\n${"x".repeat(998)}\r\n`.padEnd(400_000, "y"));
  equal((await deliver(large, [to], call()) as { verdict: string }).verdict, "delivered");
});

Deno.test("pipe: a large message and a large output pass each other", async () => {
  const { deliver } = await script("cat; exit 75", [], { output: "1KiB" });
  const large = message(`Subject: x\r\n\r\n${"0123456789".repeat(200_000)}\r\n`);
  const said = await deliver(large, [to], call());
  equal((said as { verdict: string }).verdict, "defer");
  ok((said as { text: string }).text.length < 310);
});

Deno.test("pipe: a message that can't be read to its end is not delivered", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.chmod(folder, 0o777);
  const { deliver } = await script('cat >"$1/got" && mv "$1/got" "$1/whole"', [folder]);
  const broken = {
    ...mail,
    stream: () =>
      new ReadableStream({
        start: (to) => to.enqueue(new TextEncoder().encode(`Subject: x\r\n\r\n${"x".repeat(300_000)}`)),
        pull: (to) => to.error(new Error("EIO")),
      }, { highWaterMark: 0 }),
  };
  deepEqual(await deliver(broken, [to], call()), {
    verdict: "defer",
    status: "4.3.0",
    text: "The message could not be read, please try later",
  });
  equal([...Deno.readDirSync(folder)].some(({ name }) => name === "whole"), false);
  await Deno.remove(folder, { recursive: true });
});

/** Whether a process still runs; a zombie that its parent has not looked at yet doesn't. */
function runs(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch {
    return false;
  }
}

Deno.test("pipe: when its time is over all it has started ends with it, also what ignores SIGTERM", async () => {
  const { deliver, rig } = await script(
    "trap '' TERM; sleep 1000 & echo $! $$; wait; sleep 1000",
    [],
    { timeLimit: "300ms" },
  );
  const said = await deliver(mail, [to], call());
  deepEqual(said, { verdict: "defer", status: "4.3.0", text: "The command took too long, please try later" });
  const { fields } = rig.log.find(({ text }) => text === "command failed")!;
  equal(fields.kind, "late");
  const pids = String(fields.printed).trim().split(" ").map(Number);
  equal(pids.length, 2);
  for (const pid of pids) {
    while (runs(pid)) await new Promise((resolve) => setTimeout(resolve, 5)); // the kernel tells nobody but its parent
  }
});

Deno.test("pipe: it ends when nobody waits for it any more", async () => {
  const { deliver } = await script("echo started; sleep 1000");
  const gone = new AbortController();
  const delivering = deliver(
    { ...mail, stream: () => (queueMicrotask(() => gone.abort()), mail.stream()) },
    [to],
    call(gone.signal),
  );
  deepEqual(await delivering, {
    verdict: "defer",
    status: "4.3.2",
    text: "Delivery was broken off, please try again",
  });
});

Deno.test("pipe: what it leaves in the background is not waited for", async () => {
  const { deliver } = await script("sleep 1000 & echo $!");
  const said = await deliver(mail, [to], call());
  const pid = Number((said as { text: string }).text);
  equal(runs(pid), true);
  Deno.kill(pid, "SIGKILL");
});

Deno.test("pipe: killed by a signal is temporary", async () => {
  const { deliver } = await script("kill -SEGV $$");
  equal((await deliver(mail, [to], call()) as { verdict: string }).verdict, "defer");
});

Deno.test("pipe: as many run at a time as may; who waits too long is deferred", async () => {
  const slow = await script("sleep 1000", [], { concurrency: 1, timeLimit: "200ms" });
  const [first, second] = await Promise.all([
    slow.deliver(mail, [to], call()),
    slow.deliver(mail, [to], call()),
  ]);
  match((first as { text: string }).text, /took too long/);
  match((second as { text: string }).text, /Too many deliveries/);
});

Deno.test("pipe: what was delivered here before is a loop", async () => {
  const { deliver } = await script("cat >/dev/null");
  const looping = message("Delivered-To: alice+TAG@example.org\r\n\r\nx\r\n");
  equal((await deliver(looping, [to], call()) as { status: string }).status, "5.4.6");
});

Deno.test("pipe: a program that has gone is temporary", async () => {
  const file = await Deno.makeTempFile();
  await Deno.chmod(file, 0o755);
  const rig = await setUp(pipe, { command: file, ...as });
  await Deno.remove(file);
  deepEqual(await rig.transports.get("pipe")!.deliver(mail, [to], call()), {
    verdict: "defer",
    status: "4.3.5",
    text: "The command could not be started, please try later",
  });
});

Deno.test("pipe: it owns its domains and its recipients, and nothing else", async () => {
  const { rig } = await script("", [], { domains: ["Lists.example"], recipients: ["Tickets@example.org"] });
  deepEqual(rig.owned, ["lists.example"]);
  const claims = async (text: string) => (await rig.handlers.resolve!(address(text), call()))?.verdict;
  equal(await claims("anyone@lists.example"), "accept");
  equal(await claims("tickets+4711@example.org"), "accept");
  equal(await claims("alice@example.org"), undefined);
});

Deno.test("pipe: what can't run is told at load, with what to write", async () => {
  await rejects(
    setUp(pipe, { command: "sh", ...as }, "/nowhere"),
    /no \/nowhere\/sh: write `command: \/(usr\/)?bin\/sh`/,
  );
  await rejects(setUp(pipe, { command: "/nowhere/at-all", ...as }), /install it, or correct/);
  await rejects(setUp(pipe, { command: "/etc/passwd", ...as }), /can't be executed/);
  await rejects(
    setUp(pipe, { command: "/bin/sh", arguments: ["{usr}"], ...as }),
    /\{usr\} is no placeholder/,
  );
  await rejects(setUp(pipe, { command: "/bin/sh", exitCodes: { 300: "defer" }, ...as }), /not an exit code/);
});

Deno.test("pipe: run by root it is who it was told to be, with no group but one", async () => {
  if (Deno.uid() !== 0) {
    return void await rejects(setUp(pipe, { command: "/bin/sh", user: "nobody" }), /only root/);
  }
  const { deliver } = await script('echo "$(id -u) $(id -G) $HOME"');
  const said = (await deliver(mail, [to], call()) as { text: string }).text;
  match(said, /^65534 65534 /);
  notEqual(said.split(" ")[0], "0");
});
