/** What there is to say about a generation as a whole. */
import { type Generation, hookNames, type Instance } from "../generation.ts";

/**
 * Why this generation would refuse every recipient; `undefined` where it might accept one. A plugin at `rcpt` is taken
 * to be one that says yes, since only asking it would tell.
 */
export function whyNobodyIsAccepted({ instances }: Pick<Generation, "instances">): string | undefined {
  const speaking = instances.filter(({ observe }) => !observe);
  if (speaking.some(({ handlers }) => handlers.resolve ?? handlers.rcpt)) return undefined;
  return "no plugin here could ever accept a recipient: add one that knows them, such as maildir or aliases, " +
    "or one that lets clients send elsewhere, such as relay";
}

/** For each hook who is asked, in order: the lines of `check --hooks`. */
export function describeHooks({ instances }: Pick<Generation, "instances">): string[] {
  const width = Math.max(...hookNames.map((name) => name.length));
  return hookNames.map((hook) => {
    const asked = instances.filter(({ handlers }) => handlers[hook]).map(describeInstance);
    return `${hook.padEnd(width)}  ${asked.join(", ") || "-"}`;
  });
}

function describeInstance({ name, roles, observe, onError, when }: Instance): string {
  const [role] = roles;
  const remarks = [
    ...(roles.length === 1 && role ? [`role ${role}`] : []),
    ...(when === "queued" ? ["in the queue"] : []),
    ...(observe ? ["only observed"] : []),
    ...(onError === "defer" ? [] : [`on error ${onError}`]),
  ];
  return remarks.length === 0 ? name : `${name} (${remarks.join(", ")})`;
}
