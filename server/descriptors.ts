/** Room for descriptors, asked for before the runtime needs it: where it finds none, it doesn't throw, but ends the process. */

/** What starting a Worker takes: an event loop of its own, and the files of its code. */
const ofWorker = 16;

/**
 * Makes sure that a Worker can be started. A Worker whose event loop gets no descriptor is a panic of the runtime: it ends the
 * process with all that is under way in it, and nothing can catch it.
 *
 * @throws {Error} where the descriptors that are left are too few; who tries again later may find more.
 */
export function assertRoomForWorker(): void {
  using room = new DisposableStack();
  for (let i = 0; i < ofWorker; i++) room.use(Deno.openSync("/dev/null"));
}
