// Groups of errors: each row opens beneath itself, without a reload.
import {start as openRows} from "./rows.js";
import {start as followLinks} from "./soft.js";

/** Make them open. */
export function start(element) {
  openRows(element);
  followLinks(element);
}
