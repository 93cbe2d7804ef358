/** A plugin's turn at a message that has arrived whole: what it may edit, until it has answered. */
import type { Turn } from "./chain.ts";
import type { Envelope } from "./envelope.ts";
import type { Instance } from "./generation.ts";
import type { Edit, EditableMessage } from "./message/message.ts";

/** The view of the message and the envelope in one plugin's turn. */
export function turnAt({ gate }: Envelope, message: EditableMessage): (instance: Instance) => Turn {
  return (instance) => {
    gate.open(instance.name, instance.observe);
    const own = instance.observe ? message.fork() : message;
    const editing = own.editing(instance.name);
    const before = own.trace.length;
    return {
      message: editing.view,
      edits: () => [
        ...own.trace.slice(before).map(({ edit, name }) => `${edit} ${name ?? "body"}`),
        ...gate.made,
      ],
      close() {
        editing.close();
        gate.close();
        if (own !== message) own.discard().catch(() => {});
      },
    };
  };
}

/** An edit as the log shows it, beside what plugins said. */
export const inWords = ({ plugin, edit, name }: Edit): string => `data ${plugin} ${edit} ${name ?? "body"}`;
