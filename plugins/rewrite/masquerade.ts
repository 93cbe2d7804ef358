/** Hides hosts behind their domain, as Postfix's `masquerade_domains`: `root@db.example.org` is `root@example.org`. Pure. */
import { join } from "../addresses.ts";
import type { Parts } from "./table.ts";

/** @param domains In A-labels, asked in order; `!db.example.org` keeps itself and what is below. @param except Local parts that stay. */
export function masquerade(
  domains: readonly string[],
  except: readonly string[],
): (of: Parts) => string | undefined {
  const kept = new Set(except.map((name) => name.toLowerCase()));
  return ({ local, domain }) => {
    if (kept.has(local.toLowerCase())) return undefined;
    for (const one of domains) {
      const isKept = one.startsWith("!");
      const hidden = isKept ? one.slice(1) : one;
      if (domain !== hidden && !domain.endsWith(`.${hidden}`)) continue;
      return isKept || domain === hidden ? undefined : join(local, hidden);
    }
  };
}
