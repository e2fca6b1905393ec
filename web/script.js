/* The plain script build: <script src="tidings.min.js"> leaves one global. */
import { Tidings } from "./tidings.js";

globalThis.Tidings = Tidings;
