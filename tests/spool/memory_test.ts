import { MemorySpool } from "../../server/spool/memory.ts";
import { spoolContract } from "../contract/spool.ts";

spoolContract("memory", (clock) => {
  const spool = new MemorySpool(clock);
  return Promise.resolve(Object.assign(spool, { [Symbol.asyncDispose]: () => spool.close() }));
});
