/** Room for a Worker, asked for before one is started. Shared by the plugins that have one. */

/** What it takes: an event loop of its own, and the files of its code. */
const descriptors = 16;

/**
 * Makes sure that a Worker can be started. A Worker whose event loop gets no descriptor is a panic of the runtime: it ends the
 * process with all that is under way in it, and nothing can catch it.
 *
 * @throws {Error} where the descriptors that are left are too few: what was to be done is put off.
 */
export function assertRoomForWorker(): void {
  using room = new DisposableStack();
  for (let i = 0; i < descriptors; i++) room.use(Deno.openSync("/dev/null"));
}
