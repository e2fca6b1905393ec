<?php
/* A list that stays live, with plain PHP and its pgsql extension: see README.md. */
declare(strict_types=1);

const ROUTE = '#^/(?:(?<token>token)|lists/(?<list>\d{1,9})(?<items>/items)?)?$#';
$tidings_url = getenv('TIDINGS_URL') ?: 'http://localhost:8000';
$secret = preg_replace('/\n\z/', '', file_get_contents(getenv('TIDINGS_KEY') ?: '/etc/tidings/jwt/default.HS256'));
$database = new PDO('pgsql:' . (getenv('DATABASE') ?: 'dbname=tidings user=lists_app'));

function answer(int $status, mixed $body = null): never
{
	http_response_code($status);
	if ($body !== null) {
		header('Content-Type: application/json');
		echo json_encode($body, JSON_THROW_ON_ERROR);
	}
	exit;
}

/** The rows that a statement brings. */
function rows(string $statement, mixed ...$values): array
{
	global $database;
	$prepared = $database->prepare($statement);
	$prepared->execute($values);
	return $prepared->fetchAll(PDO::FETCH_ASSOC);
}

/** Whoever is signed in. Your own way of signing in goes here. */
function person(): int
{
	$name = $_SERVER['PHP_AUTH_USER'] ?? '';
	$found = preg_match('/^[^\0]*$/u', $name) ? rows('SELECT id, password_hash FROM lists.person WHERE name = ?', $name) : [];
	if (!$found || !hash_equals($found[0]['password_hash'], hash('sha256', $_SERVER['PHP_AUTH_PW'] ?? ''))) {
		header('WWW-Authenticate: Basic');
		answer(401);
	}
	return $found[0]['id'];
}

function base64url(string $bytes): string
{
	return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
}

/** For a page: what it may hear is this person's. */
function token(int $person, string $secret): string
{
	$parts = [['alg' => 'HS256', 'typ' => 'JWT'], ['sub' => (string) $person, 'iat' => time(), 'exp' => time() + 600]];
	$signed = implode('.', array_map(fn ($part) => base64url(json_encode($part)), $parts));
	return $signed . '.' . base64url(hash_hmac('sha256', $signed, $secret, true));
}

/** The item and its message: both, or neither. */
function add(string $list, string $text): array
{
	global $database;
	$database->beginTransaction(); // whoever leaves before commit() has it rolled back
	[$item] = rows('INSERT INTO lists.item (list_id, text) VALUES (?, ?) RETURNING id, text', $list, $text);
	rows('SELECT tidings.publish(?, ?, ?)', "lists/$list", 'item_added', json_encode($item, JSON_THROW_ON_ERROR));
	$database->commit();
	return $item;
}

$person = person();
if (!preg_match(ROUTE, parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) ?: '', $route, PREG_UNMATCHED_AS_NULL))
	answer(404);
['token' => $token, 'list' => $list, 'items' => $items] = $route;
if ($_SERVER['REQUEST_METHOD'] !== ($items ? 'POST' : 'GET'))
	answer(405);
if ($list !== null && !rows('SELECT FROM lists.member WHERE list_id = ? AND person_id = ?', $list, $person))
	answer(403);

if ($token) {
	answer(200, ['token' => token($person, $secret)]);
} elseif ($items) {
	if (!preg_match('#^application/json\b#i', $_SERVER['CONTENT_TYPE'] ?? ''))
		answer(415); // a form of another site's page cannot send it
	$text = json_decode(file_get_contents('php://input'))->text ?? null;
	if (!is_string($text))
		answer(400);
	if (trim($text) === '' || str_contains($text, "\0"))
		answer(422, ['detail' => 'An item has a text, of characters.']);
	answer(201, add($list, trim($text)));
} elseif ($list !== null) {
	answer(200, ['items' => rows('SELECT id, text FROM lists.item WHERE list_id = ? ORDER BY id', $list)]);
} else {
	echo str_replace('{tidings}', $tidings_url, file_get_contents(__DIR__ . '/../page.html'));
}
