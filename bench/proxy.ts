/** Proxy mode beside the queue: the same message on the same way, passed on while the client waits, or kept and sent on. */
import { join } from "node:path";
import { largeMessages } from "./memory.ts";
import { startCountingSink, startProxy, startRelay, startSink } from "./peers.ts";
import * as report from "./report.ts";
import type { Measured } from "./report.ts";
import { type Extent, inTurn, type Part, small, warmUp, withPeers } from "./rounds.ts";

/** Rates and CPU, both to one sink. */
async function rates(folder: string, { quick, rounds }: Extent): Promise<Part[]> {
  return await withPeers([startCountingSink()], async ([sink]) => {
    const starts = [
      startProxy(join(folder, "proxy"), sink!.port, sink),
      startRelay(join(folder, "queue"), sink!.port, sink),
    ];
    return await withPeers(starts, async (peers) => {
      await warmUp(peers, quick ? 1500 : 6000);
      const parts: Part[] = [];
      for (const connections of ["one each", "kept"] as const) {
        const messages = quick ? 2500 : 6000;
        const shape = { sessions: 20, octets: small, messages, connections };
        const measured = await inTurn(peers, rounds, shape);
        const [proxy, queue] = measured.map((one, i) => ({ ...one, peer: i === 0 ? "proxy" : "queue" }));
        const cpu = report.cpuRatios(proxy as Measured, queue as Measured);
        const how = connections === "kept" ? "kept connections" : "one message a connection";
        parts.push({
          table: report.rateTable(
            `5 KB, 20 connections, ${how}: passed on as a proxy, and through the queue`,
            [
              proxy as Measured,
              queue as Measured,
            ],
            queue as Measured,
          ),
          goals: [{
            what: `CPU of proxying, ${how}, by that of queueing and sending on`,
            wanted: "≤ 1.3 ×",
            got: `${report.spread(cpu, 2)} ×`,
            met: report.median(cpu) <= 1.3,
          }],
        });
      }
      return parts;
    });
  });
}

/** What a large message on its way through costs in memory. */
async function large(folder: string): Promise<Part> {
  const size = 40 * 1024 ** 2;
  return await withPeers([startSink(folder)], async ([sink]) => {
    const octets = await withPeers([startProxy(join(folder, "large"), sink!.port)], async ([peer]) => {
      await warmUp([peer!], 500);
      return await largeMessages(peer!, size, 1);
    });
    const most = 16 * 1024 ** 2;
    return {
      table: "",
      goals: [{
        what: "a 40 MB message through the proxy, more than idle",
        wanted: "≤ 16 MiB",
        got: report.mib(octets),
        met: octets <= most,
      }],
    };
  });
}

/** Proxy mode. */
export async function proxy(folder: string, extent: Extent): Promise<Part[]> {
  return [...await rates(folder, extent), await large(folder)];
}
