/** What tests of isolated plugins share. A plugin's text imports nothing: its thread starts in a third of the time. */
import type { LogEntry, MemoryLog } from "../../server/testing/mod.ts";

/** A plugin called `mine` with this setup. */
export const file = (setup: string, more = "") =>
  `export default ({ accept, cidr, defer, definePlugin, delivered, disconnect, duration, fact, reject, transport, z }: any) =>
definePlugin({ name: "mine", ${more} setup(on: any, options: any, host: any) {
${setup}
} });
`;

/** Its entry in a configuration. */
export const isolated = (more = "") => `plugins: [{ use: ./mine.ts, isolate: {}${more} }]\n`;

/** What an isolated plugin that failed makes of a reply. */
export const later = "451 4.3.0 Something went wrong here, please try again later";

/** The entry of the log, once it is there: threads take their time. */
export async function logged(log: MemoryLog, event: string): Promise<LogEntry> {
  for (;;) {
    const found = log.entries.find((one) => one.event.startsWith(event));
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
