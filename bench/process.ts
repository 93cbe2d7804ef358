/** What a server costs, as the kernel counts it: CPU and memory of a process and all its descendants (Linux, /proc). */

const pageSize = 4096;
/** USER_HZ: what /proc counts CPU time in, on every architecture that Deno runs on. */
const ticks = 100;

async function stat(pid: number): Promise<{ parent: number; seconds: number } | undefined> {
  try {
    const text = await Deno.readTextFile(`/proc/${pid}/stat`);
    // The name, in parentheses, may hold spaces: fields are counted behind it.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ").map(Number);
    const [user, system, ofChildren, systemOfChildren] = fields.slice(11, 15);
    return { parent: fields[1]!, seconds: (user! + system! + ofChildren! + systemOfChildren!) / ticks };
  } catch {
    return undefined; // it has ended
  }
}

/** The process and all its descendants. */
async function tree(root: number): Promise<Map<number, number>> {
  const all = new Map<number, { parent: number; seconds: number }>();
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^[0-9]+$/.test(name)) continue;
    const found = await stat(Number(name));
    if (found) all.set(Number(name), found);
  }
  const inTree = (pid: number): boolean => {
    for (let at: number | undefined = pid; at; at = all.get(at)?.parent) if (at === root) return true;
    return false;
  };
  return new Map([...all].filter(([pid]) => inTree(pid)).map(([pid, { seconds }]) => [pid, seconds]));
}

/** The ids of a process and of all its descendants. */
export async function processes(root: number): Promise<number[]> {
  return [...(await tree(root)).keys()];
}

/** CPU seconds used so far; those of descendants count once they have ended, too. */
export async function cpuSeconds(root: number): Promise<number> {
  let sum = 0;
  for (const seconds of (await tree(root)).values()) sum += seconds;
  return sum;
}

/** Octets of memory that are resident now. */
export async function residentMemory(root: number): Promise<number> {
  let sum = 0;
  for (const pid of (await tree(root)).keys()) {
    try {
      sum += Number((await Deno.readTextFile(`/proc/${pid}/statm`)).split(" ")[1]) * pageSize;
    } catch {
      // It has ended.
    }
  }
  return sum;
}

/** Forgets the peak of one process's resident memory, so that {@linkcode peakMemory} counts from now on. */
export async function forgetPeak(pid: number): Promise<void> {
  await Deno.writeTextFile(`/proc/${pid}/clear_refs`, "5");
}

/** The peak of one process's resident memory, in octets. */
export async function peakMemory(pid: number): Promise<number> {
  const found = /^VmHWM:\s+([0-9]+) kB/m.exec(await Deno.readTextFile(`/proc/${pid}/status`));
  return Number(found![1]) * 1024;
}

/** The process that listens on a TCP port of this machine. */
export async function listenerOf(port: number): Promise<number | undefined> {
  const { stdout } = await new Deno.Command("ss", { args: ["-ltnpH", `sport = :${port}`] }).output();
  const found = /pid=([0-9]+)/.exec(new TextDecoder().decode(stdout));
  return found ? Number(found[1]) : undefined;
}
