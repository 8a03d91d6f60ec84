// Keeps the connection to one terminal of the server, and connects again after the network was lost.

import { openTerminals } from "./api.js";
import { pauseBefore } from "./pauses.js";

const ASK_SECONDS = 20; // how often the server is asked whether it is there
const ANSWER_SECONDS = 10;
const CONNECT_SECONDS = 20;
const INPUT_BYTES = 16 * 1024; // of one frame
const WAITING_BYTES = 1024 * 1024; // typed bytes that the network has not taken
const ENDS = { 4001: "signed out", 4002: "ended", 4003: "replaced", 4004: "gone" };

/**
 * The events are `state` ({state, message, seconds}), `output` ({bytes, past}), `lost` ({count}) and `recording`.
 * States: those of the server, and `waiting`, `signed out`, `ended`, `replaced`, `gone`.
 */
export class Connection extends EventTarget {
  #id;
  #socket = null;
  #attempts = 0;
  #timers = new Set();
  #past = 0; // output before this offset was perhaps shown by another page, which answered its questions
  #isNew; // this page does not go on where it was

  /** `received` is the number of bytes that the page has already. */
  constructor(id, received) {
    super();
    this.#id = id;
    this.received = received;
    this.#isNew = received === 0;
    this.over = false;
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  connect() {
    this.#stop();
    this.over = false;
    const address = new URL(`/terminals/${this.#id}/socket?from=${this.received}`, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    const late = this.#after(CONNECT_SECONDS, () => this.#lost());
    socket.addEventListener("open", () => {
      this.#forget(late);
      this.#tell("connected");
      this.#askAgain();
    });
    socket.addEventListener("message", ({ data }) => {
      if (socket !== this.#socket) return;
      this.#attempts = 0;
      if (typeof data === "string") this.#take(JSON.parse(data));
      else this.#output(new Uint8Array(data));
    });
    socket.addEventListener("close", ({ code }) => {
      if (socket === this.#socket) this.#closed(code);
    });
  }

  /** Sends typed bytes, and returns false if they were not sent. */
  type(bytes) {
    if (!this.open || this.#socket.bufferedAmount > WAITING_BYTES) return false;
    for (let start = 0; start < bytes.length; start += INPUT_BYTES) {
      this.#socket.send(bytes.subarray(start, start + INPUT_BYTES));
    }
    return true;
  }

  size(columns, rows) {
    this.#send({ type: "size", columns, rows });
  }

  /** Tells the server that the terminal shows the output before the offset. */
  seen(offset) {
    this.#send({ type: "seen", offset });
  }

  /** Connects at once if the connection is lost, and else asks the server whether it is there. */
  hurry() {
    if (this.open) this.#ping();
    else if (!this.over && !this.#socket) this.connect();
  }

  /** Ends the connection for good. The terminal goes on at the server. */
  leave() {
    this.over = true;
    this.#stop();
  }

  #take(message) {
    if (message.type === "state") this.#tell("state", message);
    else if (message.type === "recording") this.#tell("recording", message);
    else if (message.type === "pong") this.#askAgain();
    else if (message.type === "offset") this.#offset(message.offset, message.end ?? message.offset);
  }

  #offset(next, end) {
    if (next > this.received) this.#tell("lost", { count: next - this.received });
    this.received = next;
    if (this.#isNew) this.#past = end;
    this.#isNew = false;
  }

  #output(output) {
    const past = Math.min(output.length, Math.max(0, this.#past - this.received));
    this.received += output.length;
    if (past) this.#tell("output", { bytes: output.subarray(0, past), past: true });
    if (past < output.length) this.#tell("output", { bytes: output.subarray(past), past: false });
  }

  #askAgain() {
    this.#forget(...this.#timers);
    this.#after(ASK_SECONDS, () => this.#ping());
  }

  #ping() {
    this.#forget(...this.#timers);
    this.#send({ type: "ping" });
    this.#after(ANSWER_SECONDS, () => this.#lost());
  }

  #closed(code) {
    this.#stop();
    if (code in ENDS) this.#end(ENDS[code]);
    else this.#lost();
  }

  #end(state) {
    this.leave();
    this.#isNew = true;
    this.#tell("state", { state });
  }

  #lost() {
    this.#stop();
    const seconds = pauseBefore(this.#attempts);
    this.#attempts += 1;
    this.#tell("state", { state: "waiting", seconds });
    this.#after(seconds, () => this.#reconnect());
  }

  /** A browser hides why a WebSocket was refused, so the list of the open terminals is asked first. */
  async #reconnect() {
    try {
      const open = await openTerminals();
      if (this.over || this.#socket) return;
      if (open.some(({ id }) => id === this.#id)) this.connect();
      else this.#end("gone");
    } catch (error) {
      if (this.over || this.#socket) return;
      if (error.status === 401) this.#end("signed out");
      else this.#lost();
    }
  }

  #send(message) {
    if (this.open) this.#socket.send(JSON.stringify(message));
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #stop() {
    this.#forget(...this.#timers);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #after(seconds, action) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, seconds * 1000);
    this.#timers.add(timer);
    return timer;
  }

  #forget(...timers) {
    for (const timer of timers) {
      clearTimeout(timer);
      this.#timers.delete(timer);
    }
  }
}
