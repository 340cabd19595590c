package peers;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.net.URI;
import java.sql.Array;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;

/** The database works. Statements are prepared on the server by pgjdbc from their fifth use on. */
public final class Store implements AutoCloseable {
  private static final String KEY =
      """
      insert into peer_keys (tenant, message_id) values (?, ?) on conflict do nothing""";
  private static final String ROW =
      """
      insert into effects (id, tenant_id, n, amount) values (?, ?, ?, ?)""";
  private static final String BATCH =
      """
      with message as (
        select * from unnest(?::text[], ?::uuid[], ?::bigint[], ?::bigint[])
          with ordinality as message (tenant, id, n, amount, at)
      ), fresh as (
        insert into peer_keys (tenant, message_id)
        select tenant, id from message on conflict do nothing
        returning tenant, message_id
      )
      insert into effects (id, tenant_id, n, amount)
      select message.id, message.tenant, message.n, message.amount
      from message join fresh on fresh.message_id = message.id and fresh.tenant = message.tenant
      order by message.at""";

  private final HikariDataSource pool;

  /** A pool of fixed size, as HikariCP advises: its own default, minimumIdle = maximumPoolSize. */
  public Store(String address, int connections) {
    URI uri = URI.create(address);
    String[] user = uri.getUserInfo() == null ? new String[0] : uri.getUserInfo().split(":", 2);
    HikariConfig config = new HikariConfig();
    config.setJdbcUrl("jdbc:postgresql://" + uri.getHost() + ":" + uri.getPort() + uri.getPath());
    if (user.length > 0) config.setUsername(user[0]);
    if (user.length > 1) config.setPassword(user[1]);
    config.setMaximumPoolSize(connections);
    config.setAutoCommit(false);
    pool = new HikariDataSource(config);
  }

  /** One row, whether or not it was written before. */
  public void row(Message message) throws SQLException {
    try (Connection connection = pool.getConnection()) {
      connection.setAutoCommit(true);
      insertRow(connection, message);
    }
  }

  /** The RFC's transaction: the key, and what follows from the message only if the key is new. */
  public void transaction(Message message) throws SQLException {
    try (Connection connection = pool.getConnection()) {
      try {
        if (insertKey(connection, message)) insertRow(connection, message);
        connection.commit();
      } catch (SQLException error) {
        connection.rollback();
        throw error;
      }
    }
  }

  /** The same for many messages in one transaction of one statement; rows in the messages' order. */
  public void batch(List<Message> messages) throws SQLException {
    Message[] first = firstCopies(messages);
    String[] tenants = new String[first.length];
    UUID[] ids = new UUID[first.length];
    Long[] numbers = new Long[first.length];
    Long[] amounts = new Long[first.length];
    for (int at = 0; at < first.length; at++) {
      tenants[at] = first[at].tenant();
      ids[at] = first[at].id();
      numbers[at] = first[at].payload().n();
      amounts[at] = first[at].payload().amount();
    }
    try (Connection connection = pool.getConnection()) {
      try (PreparedStatement statement = connection.prepareStatement(BATCH)) {
        setArray(connection, statement, 1, "text", tenants);
        setArray(connection, statement, 2, "uuid", ids);
        setArray(connection, statement, 3, "int8", numbers);
        setArray(connection, statement, 4, "int8", amounts);
        statement.executeUpdate();
        connection.commit();
      } catch (SQLException error) {
        connection.rollback();
        throw error;
      }
    }
  }

  private static Message[] firstCopies(List<Message> messages) {
    record Key(String tenant, UUID id) {}
    Map<Key, Message> first = new LinkedHashMap<>(messages.size() * 2);
    for (Message message : messages) first.putIfAbsent(new Key(message.tenant(), message.id()), message);
    return first.values().toArray(Message[]::new);
  }

  private static boolean insertKey(Connection connection, Message message) throws SQLException {
    try (PreparedStatement statement = connection.prepareStatement(KEY)) {
      statement.setString(1, message.tenant());
      statement.setObject(2, message.id());
      return statement.executeUpdate() == 1;
    }
  }

  private static void insertRow(Connection connection, Message message) throws SQLException {
    try (PreparedStatement statement = connection.prepareStatement(ROW)) {
      statement.setObject(1, message.id());
      statement.setString(2, message.tenant());
      statement.setLong(3, message.payload().n());
      statement.setLong(4, message.payload().amount());
      statement.executeUpdate();
    }
  }

  private static void setArray(
      Connection connection, PreparedStatement statement, int at, String type, Object[] values)
      throws SQLException {
    Array array = connection.createArrayOf(type, values);
    statement.setArray(at, array);
  }

  @Override
  public void close() {
    pool.close();
  }
}
