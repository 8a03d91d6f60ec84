// How long to wait before a lost connection is tried again.

const SECONDS = [0.5, 1, 2, 4, 8, 15, 30];

/** Returns seconds that grow with the attempts. Chance spreads the pages that have lost the same server. */
export function pauseBefore(attempts, chance = Math.random()) {
  return SECONDS[Math.min(attempts, SECONDS.length - 1)] * (0.8 + 0.4 * chance);
}
