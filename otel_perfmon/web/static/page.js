// What every page does: it is live, goes on without a reload where it can, writes times in the reader's zone,
// and hears the keyboard. Parts of a page that draw themselves are modules of their own, in parts/.
import {startLive} from "./live.js";
import {listenToKeys} from "./keys.js";
import {startParts} from "./parts.js";
import {writeTimes} from "./times.js";

writeTimes(document);
startParts(document);
listenToKeys();
startLive();
setInterval(() => writeTimes(document), 1_000);
