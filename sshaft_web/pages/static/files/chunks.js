// Chooses how much of a file is sent at once.

const SMALLEST = 64 * 1024;
const LARGEST = 16 * 1024 * 1024;
const WANTED = 2000; // milliseconds for a chunk: a lost network costs no more, and the progress moves
const FIRST = 256 * 1024;

/** The size of the next chunk. */
export class ChunkSize {
  bytes = FIRST;

  /** Says how long a chunk has taken. */
  took(bytes, milliseconds) {
    this.#set(Math.min(4 * this.bytes, (bytes * WANTED) / Math.max(1, milliseconds)));
  }

  /** Says that a chunk did not arrive. */
  failed() {
    this.#set(this.bytes / 4);
  }

  #set(bytes) {
    this.bytes = Math.round(Math.min(LARGEST, Math.max(SMALLEST, bytes)));
  }
}
