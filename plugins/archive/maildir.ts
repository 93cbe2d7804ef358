/** The archive as a Maildir: each message a file, its envelope in fields on top. */
import type { Host } from "../../server/plugin.ts";
import { streamedBody } from "../final_copy.ts";
import { deliver } from "../maildir/delivery.ts";
import { machineDisk } from "../maildir/disk.ts";
import { Mailboxes } from "../maildir/mailbox.ts";
import { machineRandom, uniqueNames } from "../maildir/names.ts";
import type { CopyNote } from "../gateway/copies.ts";
import type { Put } from "./mod.ts";

/** @param template The folder, with {year}, {month} and {day}. */
export function maildirOf(template: string, { clock }: Pick<Host, "clock">): Put {
  const brace = template.indexOf("{");
  const root = brace < 0
    ? template.slice(0, template.lastIndexOf("/"))
    : template.slice(0, template.lastIndexOf("/", brace));
  const writer = {
    disk: machineDisk,
    mailboxes: new Mailboxes(root === "" ? "/" : root, machineDisk),
    uniqueName: uniqueNames({
      now: () => clock.now(),
      pid: Deno.pid,
      hostname: Deno.hostname(),
      random: machineRandom(),
    }),
  };
  return async (message, note, signal) => {
    const folder = folderOf(template, note.at);
    const body = streamedBody(message, "lf", message.headers.get("Return-Path") !== undefined);
    const top = topOf(note);
    const name = await deliver(
      writer,
      folder,
      new TextEncoder().encode(top),
      top.split("\n").length - 1,
      body,
      signal,
    );
    return `archived as ${name}`;
  };
}

/** The folder of a time, UTC. */
export function folderOf(template: string, at: number): string {
  const [year = "", month = "", day = ""] = new Date(at).toISOString().slice(0, 10).split("-");
  return template.replaceAll("{year}", year).replaceAll("{month}", month).replaceAll("{day}", day);
}

/** An address holds no line's end, or it would be none; what a client said of itself may hold anything. */
const harmless = (text: string) => text.replaceAll(/[^\x21-\x7e]+/g, "?").slice(0, 255);

/** The envelope, folded before it is too long for a line. */
export function topOf({ id, from, to, ip, helo, user }: CopyNote): string {
  const fields = [
    `Return-Path: <${from}>`,
    `X-Envelope-From: <${from}>`,
    `X-Envelope-To: ${to.map((one) => `<${one}>`).join(",\n ")}`,
    `X-Envelope-Client: ip=${harmless(ip)}; helo=${harmless(helo)}; user=${harmless(user)}`,
    `X-Queue-Id: ${id}`,
  ];
  return fields.join("\n") + "\n";
}
