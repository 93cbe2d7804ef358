/** A server with one configuration, on the real clock, and a client that talks to it. */
import { memoryChannel } from "../../server/channel/memory.ts";
import { systemClock } from "../../server/clock.ts";
import type { HostServices } from "../../server/host.ts";
import type { LoadedGeneration } from "../../server/load.ts";
import { SealedMessage } from "../../server/message/message.ts";
import { Sessions } from "../../server/sessions.ts";
import { MemorySpool } from "../../server/spool/memory.ts";
import type { Queued } from "../../server/spool/spool.ts";
import { TestClient, type TestReply } from "../../server/testing/client.ts";
import { fakeDns } from "../../server/testing/dns.ts";
import { countingIds } from "../../server/testing/ids.ts";
import { type MemoryLog, memoryLog } from "../../server/testing/log.ts";
import { BodyStore } from "../../server/spool/body.ts";
import { MemoryDisk } from "../../server/spool/memory_disk.ts";
import { memoryStore } from "../../server/store.ts";
import { fakeServices, type Folder, loadFrom } from "../load/fixture.ts";

const far = 1e9;

export class Talk implements AsyncDisposable {
  #client: TestClient | undefined;

  private constructor(readonly sessions: Sessions, readonly spool: MemorySpool, readonly log: MemoryLog) {}

  static async with(folder: Folder, services: Partial<HostServices> = {}): Promise<Talk> {
    const clock = systemClock;
    const log = memoryLog();
    const spool = new MemorySpool(clock);
    const bodies = await BodyStore.open("/bodies", { disk: new MemoryDisk() });
    const sessions = new Sessions({
      clock,
      log,
      ids: countingIds(),
      newBody: (id) => bodies.create(id),
      noRoom: () => undefined,
      spool,
      draining: new AbortController().signal,
    });
    const result = await loadFrom(folder, {
      services: {
        clock,
        log,
        store: memoryStore(clock),
        cache: memoryStore(clock),
        dns: fakeDns(),
        state: folder.path,
        queue: fakeServices().queue,
        verify: fakeServices().verify,
        history: fakeServices().history,
        submit: (mail) => sessions.submit(mail),
        ...services,
      },
    });
    if ("problems" in result) throw new Error(JSON.stringify(result.problems));
    const talk = new Talk(sessions, spool, log);
    talk.use(result.generation);
    return talk;
  }

  use(generation: LoadedGeneration): void {
    this.sessions.use({
      hostname: "mx.example.org",
      limits: {
        message: far,
        recipients: far,
        errors: far,
        refusedRecipients: far,
        hops: 100,
        bareNewlines: "normalize",
      },
      timeouts: { command: far, data: far },
      trustedNetworks: [],
    }, generation);
  }

  async client(): Promise<TestClient> {
    if (this.#client) return this.#client;
    const { server, client: end } = memoryChannel();
    const served = this.sessions.serve(server, {
      role: "mx",
      protocol: "smtp",
      auth: false,
      allowPlain: false,
    });
    this.#client = new TestClient(end, served);
    await this.#client.reply();
    return this.#client;
  }

  /** What EHLO is answered. */
  async helo(): Promise<string[]> {
    const reply = await (await this.client()).command("EHLO client.example");
    return [`${reply.code} ${reply.text}`];
  }

  /** A transaction; answers what MAIL, each RCPT and the message are told: all of it where it is no yes. */
  async send(from: string, to: readonly string[], content?: string): Promise<string[]> {
    const client = await this.client();
    await client.command("EHLO client.example");
    const said = (reply: TestReply) =>
      reply.code === 250 ? "250" : `${reply.code} ${reply.status} ${reply.text}`;
    const replies = [said(await client.command(`MAIL FROM:<${from}>`))];
    for (const one of to) replies.push(said(await client.command(`RCPT TO:<${one}>`)));
    if (content !== undefined) {
      await client.command("DATA");
      await client.send(content, ".\r\n");
      replies.push(said(await client.reply()));
    }
    return replies;
  }

  /** What is asked of Workers, from here to the end of the block. */
  static listen(): { readonly questions: string[] } & Disposable {
    const { postMessage } = Worker.prototype;
    const questions: string[] = [];
    Worker.prototype.postMessage = function (this: Worker, message: { question?: { about: string } }) {
      if (message.question) questions.push(message.question.about);
      postMessage.call(this, message);
    };
    return {
      questions,
      [Symbol.dispose]() {
        Worker.prototype.postMessage = postMessage;
      },
    };
  }

  async #queued(): Promise<Queued> {
    return (await Array.fromAsync(this.spool.list()))[0]!;
  }

  /** The first recipient's copy. */
  async kept(): Promise<string> {
    const { envelope } = await this.#queued();
    const content = (await this.spool.content(envelope.id))!;
    const top = [...envelope.recipients[0]!.own ?? [], ...envelope.top];
    return new TextDecoder().decode(
      await new SealedMessage(envelope.id, content, envelope.edits, top).bytes(1e7),
    );
  }

  async envelope(): Promise<string> {
    const { envelope } = await this.#queued();
    return `${envelope.sender} → ${envelope.recipients.map(({ address }) => address).join(" ")}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client?.abort();
    await this.#client?.closed;
    await this.sessions.close();
  }
}
