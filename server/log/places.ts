/** Places in code as its author knows them: a generation after the first is read through a link (`load/reread.ts`). */

/** How the names of those links begin. */
export const linkPrefix = "root-";

/** `file:///state/code/root-1a2b3c4d` or the path alone; what follows is the path as it is written. */
const through = /(file:\/\/)?\/[^\s"'()]*?\/code\/root-[0-9a-f]{8}(?=\/)/g;

/** A text, a stack perhaps, in which files are called by the paths their author knows. */
export function asWritten(text: string): string {
  return text.includes(`/code/${linkPrefix}`) ? text.replace(through, "$1") : text;
}
