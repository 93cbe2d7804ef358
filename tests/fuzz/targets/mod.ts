/** Everything that is fuzzed. */
import type { Target } from "../target.ts";
import { client, replies, stepwise } from "./client.ts";
import { connection } from "./connection.ts";
import { certificate, data, dns, policy, proxy, report } from "./framing.ts";
import { address, header, params, sasl, where, xclient } from "./parsers.ts";
import { session } from "./session.ts";

/** In the order they take turns. */
export const targets: readonly Target[] = [
  session,
  connection,
  data,
  address,
  params,
  sasl,
  xclient,
  header,
  report,
  proxy,
  dns,
  certificate,
  policy,
  where,
  replies,
  client,
  stepwise,
];
