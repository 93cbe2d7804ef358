/** A store that can be read, and written to as far as its reader can tell; nothing of it comes to the disk. */
import type { Clock } from "../clock.ts";
import type { Json, Store } from "../plugin.ts";
import { memoryStore, type Stores } from "../store.ts";

/** Stores over others that are only read: what is written lies above, in memory, and is gone at the end. */
export function storesOver(base: Pick<Stores, "for">, clock: Clock): Stores {
  const above = memoryStore(clock);
  const overwritten = new Map<string, Set<string>>();
  const queue: Queue = { last: Promise.resolve(), closed: false };
  return {
    for(name) {
      let keys = overwritten.get(name);
      if (!keys) overwritten.set(name, keys = new Set());
      return storeOver(base.for(name), above.for(name), keys, queue);
    },
    async close() {
      queue.closed = true;
      await queue.last;
      await above.close();
    },
  };
}

/** As of every store: what one caller asks is answered in the order in which it was asked. */
interface Queue {
  last: Promise<unknown>;
  closed: boolean;
}

/** @param overwritten Keys whose value below counts no more. */
function storeOver(base: Store, above: Store, overwritten: Set<string>, queue: Queue): Store {
  const get = async <T extends Json>(key: string): Promise<T | undefined> =>
    overwritten.has(key) ? await above.get<T>(key) : await base.get<T>(key);
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    if (queue.closed) return Promise.reject(new Error("the store is closed"));
    const done = queue.last.then(work);
    queue.last = done.catch(() => {});
    return done;
  };
  return {
    get: <T extends Json>(key: string) => inTurn(() => get<T>(key)),
    set: (key, value, how) =>
      inTurn(async () => {
        await above.set(key, value, how);
        overwritten.add(key);
      }),
    getOrSet: (key, value, how) =>
      inTurn(async () => {
        const found = await get<typeof value>(key);
        if (found !== undefined) return found as never; // the declared type widens literals by a helper of plugin.ts
        const kept = await above.getOrSet(key, value, how);
        overwritten.add(key);
        return kept;
      }),
    increment: (key, by, how) =>
      inTurn(async () => {
        const found = overwritten.has(key) ? undefined : await base.get<Json>(key);
        if (found !== undefined) await above.set(key, found, how);
        overwritten.add(key);
        return await above.increment(key, by, how);
      }),
    delete: (key) =>
      inTurn(async () => {
        await above.delete(key);
        overwritten.add(key);
      }),
  };
}
