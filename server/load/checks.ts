/** What only shows when all plugins stand side by side: names taken twice, an order that can't work, what is missing. */
import { closest } from "../config/sentence.ts";
import { isProxy } from "../generation.ts";
import type { Registered } from "../host.ts";
import type { Plugin, Transport } from "../plugin.ts";

/** An entry of `plugins:` whose plugin was found; `registered` where it was also set up. */
export interface Standing {
  /** Its place in the list. */
  readonly index: number;
  readonly name: string;
  readonly plugin: Plugin;
  /** The line of the configuration it stands on. */
  readonly line: number;
  readonly registered: Registered | undefined;
  /** Those its options name. */
  readonly transports: readonly Transport[];
}

/** Says what is wrong with an entry; `isCulprit` knows the text in its options that it is about. */
export type Complain = (standing: Standing, message: string, isCulprit?: (text: string) => boolean) => void;

/** Checks them all. `complete`: every plugin was set up, so that what is missing is missing for good. */
export function checkTogether(
  standing: readonly Standing[],
  complete: boolean,
  builtIn: readonly string[],
  complain: Complain,
): void {
  const transports = checkTransports(standing, builtIn, complain);
  checkAfter(standing, complain);
  checkNeeds(standing, complete, complain);
  checkQueued(standing, complain);
  if (complete) checkNamedTransports(standing, transports, complain);
}

const at = ({ name, line }: Standing) => `${name} (line ${line})`;

function checkTransports(
  standing: readonly Standing[],
  builtIn: readonly string[],
  complain: Complain,
): string[] {
  const taken = new Map<string, Standing | undefined>(builtIn.map((name) => [name, undefined]));
  for (const one of standing) {
    for (const { name } of one.registered?.transports ?? []) {
      const other = taken.get(name);
      if (!taken.has(name)) taken.set(name, one);
      else if (other === one) complain(one, `${one.name} registers two transports with the name "${name}"`);
      else {
        const whose = other ? `the transport of ${at(other)}` : "the server's own transport";
        complain(one, `"${name}" is ${whose}: give this entry a name of its own by \`as:\``);
      }
    }
  }
  return [...taken.keys()];
}

function checkAfter(standing: readonly Standing[], complain: Complain): void {
  for (const one of standing) {
    for (const name of one.plugin.after ?? []) {
      const below = standing.find((other) =>
        other.index > one.index && (other.plugin.name === name || other.name === name)
      );
      if (below) complain(one, `${one.name} has to stand below ${at(below)}: move it there`);
    }
  }
}

/** What `when: queued` allows: to be asked about the message, and to hear what became of it. */
const afterwards: readonly string[] = ["data", "dataFor", "delivered", "deferred", "bounced"];

const isQueued = ({ registered }: Standing) => registered?.instance.when === "queued";

function checkQueued(standing: readonly Standing[], complain: Complain): void {
  const takers = standing.filter(({ registered }) =>
    registered && (registered.instance.handlers.queue || registered.transports.some(isProxy))
  );
  for (const one of standing) {
    if (!isQueued(one)) continue;
    const { name } = one;
    const hooks = Object.keys(one.registered!.instance.handlers);
    const early = hooks.filter((hook) => !afterwards.includes(hook));
    if (early.length > 0) {
      const which = early.map((hook) => `"${hook}"`).join(", ");
      complain(
        one,
        `${name} can't be asked at ${which} with \`when: queued\`: the reply was given before. Remove \`when\``,
      );
    } else if (!hooks.includes("data") && !hooks.includes("dataFor")) {
      complain(one, `${name} looks at no message, so \`when: queued\` means nothing: remove \`when\``);
    }
    const [taker] = takers;
    if (taker) {
      complain(
        one,
        `${name} would never be asked about what ${
          at(taker)
        } takes before the queue: remove \`when: queued\``,
      );
    }
  }
}

function checkNeeds(standing: readonly Standing[], complete: boolean, complain: Complain): void {
  for (const one of standing) {
    for (const { fact, optional } of one.registered?.needed ?? []) {
      const providers = standing.filter(({ registered }) => registered?.provided.has(fact));
      const speaking = providers.filter((other) =>
        !other.registered?.instance.observe && isQueued(other) === isQueued(one)
      );
      const [apart] = providers.filter((other) => isQueued(other) !== isQueued(one));
      if (speaking.some(({ index }) => index <= one.index)) continue;
      const [below] = speaking;
      const [silent] = providers;
      const needs = `${one.name} needs the fact "${fact}"`;
      if (below) complain(one, `${needs} from ${at(below)}: move it below`);
      else if (optional) continue;
      else if (apart) {
        const [when, remedy] = isQueued(one)
          ? ["on arrival, which is over by then", "give both the same `when`"]
          : ["only once the message is queued", `give ${one.name} \`when: queued\`, too`];
        complain(one, `${needs} from ${at(apart)}, which is asked ${when}: ${remedy}`);
      } else if (silent) complain(one, `${needs} from ${at(silent)}, whose \`observe: true\` drops it`);
      else if (complete) complain(one, `${needs}, which no plugin here provides: add one above that does`);
    }
  }
}

function checkNamedTransports(
  standing: readonly Standing[],
  transports: readonly string[],
  complain: Complain,
): void {
  for (const one of standing) {
    for (const { transport } of one.transports) {
      if (transports.includes(transport)) continue;
      const meant = closest(transport, transports);
      const hint = meant ? `did you mean "${meant}"?` : `there are ${transports.join(", ")}`;
      complain(one, `no plugin here has a transport "${transport}": ${hint}`, (text) => text === transport);
    }
  }
}
